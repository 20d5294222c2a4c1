"""Elimination across chains: exact and near duplicates, contamination, and rows that stay untouched."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.errors import ConfigError, DataError
from eva_data.evolve import ReferenceSet, prompt_id_of
from eva_data.evolve.elimination.eliminate import eliminate
from eva_data.tables import schemas

KNOWN = pl.Schema({name: schemas.PROMPTS[name] for name in ("prompt_id", "prompt", "root_id", "depth")})
LETTERS = "a b c d e f g h i j k l m n o p q r s t u v w x y z"


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def name_of(text: str) -> str:
    return prompt_id_of(user(text))


def attempt(chain: str, step: int, text: str | None, **changes: Any) -> dict[str, Any]:
    """A row of a chain. The chain has the id of its root."""
    row = {
        "chain_id": chain,
        "step": step,
        "candidate": 0,
        "prompt_id": None if text is None else name_of(text),
        "prompt": None if text is None else user(text),
        "parent_id": chain,
        "root_id": chain,
        "depth": step,
        "mutation": "harder",
        "raw": text,
        "completion_tokens": 5,
        "creator": "creator",
        "iteration": 2,
    }
    return row | changes


def evolutions(*rows: dict[str, Any]) -> pl.DataFrame:
    return schemas.conform(pl.DataFrame(list(rows), infer_schema_length=None), schemas.EVOLUTIONS)


def known(*texts: str) -> pl.LazyFrame:
    rows = [{"prompt_id": name_of(text), "prompt": user(text), "root_id": name_of(text), "depth": 0} for text in texts]
    return pl.LazyFrame(rows, schema=KNOWN)


def verdicts(table: pl.DataFrame) -> list[tuple[Any, ...]]:
    return table.select("chain_id", "step", "status", "reason", "duplicate_of").rows()


def test_everything_at_once() -> None:
    trains = "A train leaves Paris at noon and another leaves Lyon an hour later."
    table = evolutions(
        attempt("a", 1, "Name three rivers."),
        attempt("a", 2, None, raw="?", status="eliminated", reason="empty"),
        attempt("a", 3, f"Solve this. {trains}"),
        attempt("b", 1, "Name three seas."),
        attempt("b", 2, "Name three rivers."),
        attempt("b", 3, LETTERS),
        attempt("c", 1, "Name three lakes."),
        attempt("c", 2, f"{LETTERS}!"),
        attempt("c", 3, "Name four lakes."),
    )
    result = eliminate(
        table,
        known=known("Name three seas.", "Hello."),
        near_duplicate=0.9,
        benchmarks=[ReferenceSet("trains", pl.DataFrame({"text": [trains]}))],
    )
    gone = {
        ("a", 3): ("contamination:trains", None),
        ("b", 1): ("duplicate", name_of("Name three seas.")),
        ("b", 2): ("duplicate", name_of("Name three rivers.")),
        ("b", 3): ("near_duplicate", name_of(f"{LETTERS}!")),
    }
    expected = [
        row
        | (
            {"status": "eliminated", "reason": gone[key][0], "duplicate_of": gone[key][1]}
            if (key := (row["chain_id"], row["step"])) in gone
            else {}
        )
        for row in table.to_dicts()
    ]
    assert_frame_equal(result, pl.DataFrame(expected, schema=schemas.EVOLUTIONS))
    assert [row[2] for row in verdicts(result)] == [
        None,
        "eliminated",
        "eliminated",
        "eliminated",
        "eliminated",
        "eliminated",
        None,
        None,
        None,
    ]


def test_of_equal_prompts_the_earliest_step_stays_then_the_smallest_chain() -> None:
    table = evolutions(
        attempt("a", 2, "Name three rivers."),
        attempt("b", 1, "Name three rivers."),
        attempt("c", 1, "Name three rivers."),
        attempt("d", 1, "Name three lakes.", status="eliminated", reason="too_long"),
        attempt("e", 4, "Name three lakes."),
    )
    rivers = name_of("Name three rivers.")
    assert verdicts(eliminate(table, known=known(), near_duplicate=None)) == [
        ("a", 2, "eliminated", "duplicate", rivers),
        ("b", 1, None, None, None),
        ("c", 1, "eliminated", "duplicate", rivers),
        ("d", 1, "eliminated", "too_long", None),
        ("e", 4, None, None, None),
    ]


def test_of_nearly_equal_prompts_the_earliest_step_stays_then_the_smallest_id() -> None:
    texts = [f"{LETTERS} {end}" for end in "123"]
    by_id = sorted(texts, key=name_of)
    table = evolutions(
        attempt("z", 1, by_id[0]),
        attempt("a", 1, by_id[1]),
        attempt("b", 2, f"{LETTERS} 4"),
        attempt("c", 1, by_id[2]),
    )
    first = name_of(by_id[0])
    assert verdicts(eliminate(table, known=known(), near_duplicate=0.8)) == [
        ("a", 1, "eliminated", "near_duplicate", first),
        ("b", 2, "eliminated", "near_duplicate", first),
        ("c", 1, "eliminated", "near_duplicate", first),
        ("z", 1, None, None, None),
    ]
    assert {row[2] for row in verdicts(eliminate(table, known=known(), near_duplicate=None))} == {None}


def test_a_chain_that_only_adds_to_a_long_prompt_is_kept() -> None:
    table = evolutions(
        attempt(name_of(LETTERS), 1, f"{LETTERS} 1"),
        attempt(name_of(LETTERS), 2, f"{LETTERS} 1 2"),
        attempt(name_of(LETTERS), 3, f"{LETTERS} 1 2 3"),
    )
    result = eliminate(table, known=known(LETTERS), near_duplicate=0.8)
    assert [row[2] for row in verdicts(result)] == [None, None, None]


def test_what_followed_an_eliminated_prompt_stays_and_its_parent_is_in_the_table() -> None:
    parent, child = "Name three seas.", "Name three seas and their depths in metres."
    table = evolutions(attempt("a", 1, parent), attempt("a", 2, child, parent_id=name_of(parent)))
    result = eliminate(table, known=known(parent), near_duplicate=None)
    assert verdicts(result) == [
        ("a", 1, "eliminated", "duplicate", name_of(parent)),
        ("a", 2, None, None, None),
    ]
    assert result.filter(pl.col("prompt_id") == result["parent_id"][1])["raw"].to_list() == [parent]


def test_a_contaminated_prompt_takes_nothing_else_with_it() -> None:
    table = evolutions(attempt("a", 1, f"{LETTERS} 1"), attempt("b", 2, f"{LETTERS[2:]} 2"))
    result = eliminate(
        table,
        known=known(),
        near_duplicate=0.7,
        benchmarks=[ReferenceSet("letters", pl.DataFrame({"text": ["a b c"]}))],
        ngram=3,
    )
    assert verdicts(result) == [
        ("a", 1, "eliminated", "contamination:letters", None),
        ("b", 2, None, None, None),
    ]


def test_no_evolutions_stay_no_evolutions() -> None:
    none = schemas.empty(schemas.EVOLUTIONS)
    assert_frame_equal(eliminate(none, known=known("Hello."), near_duplicate=0.9), none)


def test_other_tables_and_thresholds_are_refused() -> None:
    table = evolutions(attempt("a", 1, "Name three rivers."))
    with pytest.raises(DataError, match=r"columns \['raw'\] are missing"):
        eliminate(table.drop("raw"), known=known(), near_duplicate=None)
    with pytest.raises(ConfigError, match=r"evolve.near_duplicate is 2; it is a Jaccard similarity"):
        eliminate(table, known=known(), near_duplicate=2)


texts = st.one_of(
    st.none(),
    st.sampled_from(["Name three rivers.", "name three rivers.", "Hello.", f"{LETTERS} 1", f"{LETTERS} 2", "a b c d"]),
    st.integers(0, 25).map(lambda cut: LETTERS[2 * cut :]),
    st.text(max_size=6),
)


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("abcd"), texts), max_size=14), st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_row_order(drawn: list[tuple[str, str | None]], random: Any) -> None:
    steps = dict.fromkeys("abcd", 0)
    rows = []
    for chain, text in drawn:
        steps[chain] += 1
        failed = {"status": "eliminated", "reason": "empty"} if text is None else {}
        rows.append(attempt(chain, steps[chain], text, **failed))
    table = evolutions(*rows) if rows else schemas.empty(schemas.EVOLUTIONS)
    order = random.sample(range(table.height), table.height)
    seeds = ["Hello.", f"{LETTERS} 3", "Name three seas."]
    settings: dict[str, Any] = {
        "near_duplicate": 0.7,
        "benchmarks": [ReferenceSet("letters", pl.DataFrame({"text": ["a b c d", "x y z"]}))],
        "ngram": 4,
    }
    result = eliminate(table, known=known(*seeds), **settings)
    assert_frame_equal(eliminate(table[order], known=known(*seeds[::-1], *seeds), **settings), result)
    # Rows in are rows out, only verdicts were added, and only on rows that had none.
    before = table.sort("chain_id", "step")
    assert_frame_equal(result.drop("status", "reason", "duplicate_of"), before.drop("status", "reason", "duplicate_of"))
    judged = before["status"].is_not_null()
    assert_frame_equal(result.filter(judged), before.filter(judged))
    survivors = result.filter(pl.col("status").is_null())["prompt_id"]
    assert survivors.n_unique() == len(survivors)
    assert not survivors.is_in([name_of(text) for text in seeds]).any()
    # Each exact duplicate has a row that stands for it: a survivor, a known prompt or another's repetition.
    repeats = result.filter(pl.col("reason") == "duplicate")
    assert repeats["duplicate_of"].equals(repeats["prompt_id"])


def test_verdicts_do_not_depend_on_how_many_texts_are_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    table = evolutions(
        attempt(name_of("5"), 1, f"{LETTERS} one"),
        attempt(name_of("1"), 1, f"{LETTERS} two"),
        attempt(name_of("2"), 1, "a known text"),
        attempt(name_of("3"), 2, "say the secret of the benchmark"),
        attempt(name_of("4"), 2, f"{LETTERS} three"),
        attempt(name_of("4"), 3, None, status="eliminated", reason="no_prompt"),
    )
    benchmark = ReferenceSet("bench", pl.DataFrame({"text": ["the secret of the benchmark"]}))

    def judged() -> pl.DataFrame:
        return eliminate(table, known=known("a known text"), near_duplicate=0.6, benchmarks=[benchmark])

    whole = judged()
    assert sorted(whole["reason"].drop_nulls()) == [
        "contamination:bench",
        "duplicate",
        "near_duplicate",
        "near_duplicate",
        "no_prompt",
    ]
    monkeypatch.setattr(import_module("eva_data.evolve.elimination.eliminate"), "TEXTS_AT_ONCE", 1)
    assert_frame_equal(judged(), whole)
