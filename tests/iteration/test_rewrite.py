"""Rewriting chosen responses: the requests, the replies that count, and when a rewritten response is chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from small_store import replace_table, small_store

from eva_data.calls import Unparsable
from eva_data.cli.text.build import print_lineages
from eva_data.config.reading import parse_config
from eva_data.errors import ConfigError
from eva_data.method.responses import COMPLETIONS
from eva_data.method.rewrite import ask, read_replies, read_rewriting, with_rewritten
from eva_data.tables.ids import pair_id
from eva_data.tables.schemas import PREFERENCES, REJECTS, RESPONSES, conform


def turn(role: str, text: str) -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def pair(prompt_id: str, chosen: str, score: float, chosen_idx: int = 0) -> dict[str, Any]:
    return {
        "prompt_id": prompt_id,
        "prompt": turn("user", f"Ask {prompt_id}."),
        "chosen": turn("assistant", chosen),
        "rejected": turn("assistant", "bad"),
        "score_chosen": score,
        "score_rejected": -1.0,
        "pair_id": f"old {prompt_id}",
        "chosen_idx": chosen_idx,
        "on_policy": True,
        "rewritten": False,
    }


def pairs(*rows: dict[str, Any]) -> pl.DataFrame:
    return conform(pl.DataFrame(list(rows), infer_schema_length=None), PREFERENCES)


def rewrites(*rows: tuple[str, int, str, float | None]) -> pl.DataFrame:
    table = pl.DataFrame(rows, schema=["prompt_id", "response_idx", "response", "reward"], orient="row")
    return conform(table.with_columns(stage=pl.lit("rewrite")), RESPONSES)


def completion(response: str | None, **changes: Any) -> dict[str, Any]:
    return {"response": response, "finish_reason": "stop", "error": None} | changes


def test_the_request_shows_the_conversation_and_the_reply_and_asks_for_its_length() -> None:
    [message] = ask(turn("user", "Say {response}, {prompt}."), "I {percent} 川.", 0.25)
    assert message["role"] == "user"
    assert (
        "<conversation>\nSay {response}, {prompt}.\n</conversation>\n\n<reply>\nI {percent} 川.\n</reply>"
        in (message["content"])
    )
    assert "It has the same length: 14 characters, give or take 25 %." in message["content"]
    several = [*turn("system", "Be brief."), *turn("user", "A?"), *turn("assistant", "B."), *turn("user", "C?")]
    assert "[System]\nBe brief.\n\n[User]\nA?\n\n[Assistant]\nB.\n\n[User]\nC?" in ask(several, "D.", 0.1)[0]["content"]


@pytest.mark.parametrize(
    ("found", "read"),
    [
        (completion("<new_reply>The Elbe!!</new_reply>"), "The Elbe!!"),
        (
            completion("<think>So <new_reply>x</new_reply></think>Here:\n<new_reply>\nThe Elbe!\n</new_reply>."),
            "The Elbe!",
        ),
        (completion("<new_reply>no</new_reply> or <new_reply>The Oder.</new_reply>"), "The Oder."),
        (completion("<new_reply>Half \ud83d it.</new_reply>"), "Half ? it."),
        # The chosen one has ten characters, and the bound is two of them.
        (completion(f"<new_reply>{'x' * 8}</new_reply>"), "x" * 8),
        (completion(f"<new_reply>{'x' * 12}</new_reply>"), "x" * 12),
        (completion(f"<new_reply>{'x' * 7}</new_reply>"), Unparsable("another_length")),
        (completion(f"<new_reply>{'x' * 13}</new_reply>"), Unparsable("another_length")),
        (completion("<new_reply>The Rhine.</new_reply>"), Unparsable("unchanged")),
        (completion("<new_reply> \n</new_reply>"), Unparsable("empty")),
        (completion("The Elbe!!"), Unparsable("unparsable: no text between <new_reply> and </new_reply>")),
        (completion("<new_reply>The Elbe"), Unparsable("unparsable: no text between <new_reply> and </new_reply>")),
        (completion("<think>Rivers"), Unparsable("unparsable: the reasoning has no end")),
        (completion("<new_reply>The Elbe", finish_reason="length"), Unparsable("truncated")),
        (completion("", finish_reason="content_filter"), Unparsable("content_filter")),
        (completion(None, finish_reason="error", error="gave_up: HTTP 503"), Unparsable("gave_up: HTTP 503")),
        (completion(None), Unparsable("call_failed: the reply has no text")),
    ],
)
def test_only_a_marked_reply_of_the_same_length_counts(found: dict[str, Any], read: str | Unparsable) -> None:
    assert read_rewriting(found, "The Rhine.", 0.2) == read


def test_every_reply_is_a_response_or_a_reject() -> None:
    completions = pl.DataFrame(
        [
            ("a", 0, "<new_reply>better</new_reply>", "stop", 90, 7, None),
            ("b", 0, None, "error", None, None, "HTTP 500"),
            ("c", 0, "No.", "stop", 80, 2, None),
        ],
        schema=COMPLETIONS,
        orient="row",
    )
    chosen = pl.DataFrame({"prompt_id": ["a", "b", "c"], "chosen_idx": [4, 1, 0], "text": ["longer", "bbb", "c"]})
    found, failed = read_replies(completions, chosen, 0.1)
    assert found.rows() == [("a", 4, "better", "stop", 90, 7)]
    assert conform(found, RESPONSES).schema == RESPONSES
    assert failed.rows() == [
        ("b", "HTTP 500", "bbb"),
        ("c", "unparsable: no text between <new_reply> and </new_reply>", "No."),
    ]
    assert conform(failed, REJECTS).schema == REJECTS


def test_all_rewritten_responses_are_chosen_whatever_their_reward_if_the_settings_say_so() -> None:
    given = pairs(*(pair(name, f"old {name}", 1.0) for name in "abcd"))
    new = rewrites(("a", 0, "new a", 0.5), ("b", 0, "new b", 2.0), ("c", 0, "new c", None), ("d", 0, "bad", 0.0))
    better, every = (with_rewritten(given, new, keep=keep) for keep in ("better", "all"))
    assert better["rewritten"].to_list() == [False, True, False, False]
    assert every["rewritten"].to_list() == [True, True, False, False], "one has no reward, one is the rejected response"
    assert every["score_chosen"].to_list() == [0.5, 2.0, 1.0, 1.0]
    assert [turns[0]["content"] for turns in every["chosen"]] == ["new a", "new b", "old c", "old d"]


def test_the_rewritten_response_is_chosen_where_its_reward_is_not_lower() -> None:
    before = pairs(
        pair("a", "good", 1.0, chosen_idx=3),
        pair("b", "good", 1.0),
        pair("c", "good", 1.0),
        pair("d", "good", 1.0),
        pair("e", "good", 1.0),
        pair("f", "good", 1.0),
    )
    written = rewrites(
        ("a", 3, "fine", 1.0),
        ("b", 0, "best", 1.5),
        ("c", 0, "poor", 0.99),
        ("d", 0, "none", None),
        ("e", 0, "none", float("nan")),
        # Made from another response than the chosen one.
        ("f", 1, "fine", 2.0),
    )
    after = with_rewritten(before, written)

    def taken(row: dict[str, Any], text: str, reward: float) -> dict[str, Any]:
        ids = pl.select(pair_id(pl.lit(row["prompt_id"]), pl.lit("bad"), pl.lit(text))).item()
        return row | {
            "chosen": turn("assistant", text), "score_chosen": reward, "rewritten": True, "pair_id": ids,
        }  # fmt: skip

    expected = [
        taken(pair("a", "good", 1.0, chosen_idx=3), "fine", 1.0),
        taken(pair("b", "good", 1.0), "best", 1.5),
        *[pair(name, "good", 1.0) for name in "cdef"],
    ]
    assert_frame_equal(after, pairs(*expected))


def test_without_rewritten_responses_the_pairs_stay_as_they_are() -> None:
    before = pairs(pair("a", "good", 1.0))
    assert_frame_equal(with_rewritten(before, rewrites().clear()), before)
    assert_frame_equal(with_rewritten(before.clear(), rewrites(("a", 0, "x", 2.0))), before.clear())


rewards = st.none() | st.floats(-2, 2)


@pytest.mark.parametrize(("rules", "noise"), [(1, 0.0), (2, 2.0**-23)])
@given(scores=st.lists(st.tuples(st.floats(-1, 1), rewards), min_size=1, max_size=6))
def test_no_pair_is_lost_and_no_score_gets_worse(
    rules: int, noise: float, scores: list[tuple[float, float | None]]
) -> None:
    before = pairs(*[pair(str(place), "good", score) for place, (score, _) in enumerate(scores)])
    after = with_rewritten(
        before, rewrites(*[(str(place), 0, "new", reward) for place, (_, reward) in enumerate(scores)]), rules=rules
    )
    assert after["prompt_id"].to_list() == before["prompt_id"].to_list()
    assert (after["score_chosen"] >= before["score_chosen"] - 2 * noise).all()
    for taken, (score, reward) in zip(after["rewritten"], scores, strict=True):
        assert taken or reward is None or reward < score
        assert not taken or (reward is not None and reward >= score - 2 * noise)


def test_a_rewritten_response_of_the_same_reward_but_for_noise_is_chosen() -> None:
    before, written = pairs(pair("a", "good", 0.1 + 0.2)), rewrites(("a", 0, "fine", 0.3))
    assert with_rewritten(before, written)["rewritten"].to_list() == [True]
    assert with_rewritten(before, written, rules=1)["rewritten"].to_list() == [False]


@pytest.mark.parametrize("several", [False, True])
def test_rewards_that_compare_responses_with_each_other_cannot_decide(several: bool, tmp_path: Path) -> None:
    pairwise = {"backend": "pairwise", "model": "acme/pm"}
    both = {"backend": "several", "rewards": [{"backend": "classifier", "model": "acme/rm"}, pairwise]}
    values = {
        "name": "a",
        "seeds": {"sandbox": 3},
        "solver": {"model": "sandbox"},
        "reward": both if several else pairwise,
        "pair": {"rewrite": True},
    }
    with pytest.raises(ConfigError, match=r"`pair\.rewrite` compares the reward of a response with that of its"):
        parse_config(values, "the test")
    parse_config(values | {"pair": {}}, "the test")


def test_show_marks_a_rewriting_by_its_side_also_where_people_preferred_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = small_store(tmp_path / "small")
    found, in_pair = (store.scan(name, 2).collect() for name in ("responses", "preferences"))
    of_chosen = found.filter((pl.col("response") == "good one") & (pl.col("stage") == "respond")).tail(1)
    written = of_chosen.with_columns(stage=pl.lit("rewrite"), response=pl.lit("better one"), reward=pl.lit(0.95))
    replace_table(store, "responses", 2, pl.concat([found, written]))
    better = pl.Series([turn("assistant", "better one")], dtype=PREFERENCES["chosen"])
    taken = in_pair.with_columns(chosen=better, rewritten=pl.lit(True))
    sides = {"chosen": "rejected", "rejected": "chosen", "chosen_idx": "rejected_idx", "rejected_idx": "chosen_idx"}
    swapped = taken.rename(sides).select(in_pair.columns)

    for table, marks in (
        (taken, {"better one": "chosen", "good one": "original", "bad": "rejected"}),
        (swapped, {"better one": "rejected", "good one": "original", "bad": "chosen"}),
        (in_pair, {"better one": "rewrite", "good one": "chosen", "bad": "rejected"}),
    ):
        replace_table(store, "preferences", 2, table)
        print_lineages(store, 2, 1)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
        assert {line[18:]: line[2:10].strip() for line in lines} == marks
