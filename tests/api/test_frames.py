"""Tables of every kind go in, and the same kind comes out."""

from __future__ import annotations

from typing import Any

import datasets
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import eva_data as ed
from eva_data.errors import ConfigError, DataError

ROWS = [
    {"prompt": "b", "response": "one", "reward": 0.3},
    {"prompt": "b", "response": "two", "reward": 0.3},
    {"prompt": "a", "response": "1", "reward": 0.1},
    {"prompt": "a", "response": "2", "reward": 0.9},
    {"prompt": "a", "response": "3", "reward": 0.5},
]
PAIR = {
    "prompt": [{"role": "user", "content": "a"}],
    "chosen": [{"role": "assistant", "content": "2"}],
    "rejected": [{"role": "assistant", "content": "1"}],
    "score_chosen": 0.9,
    "score_rejected": 0.1,
}
KINDS: dict[str, tuple[Any, Any, Any]] = {
    "polars": (pl.DataFrame, pl.DataFrame, pl.DataFrame.to_dicts),
    "lazy": (pl.LazyFrame, pl.LazyFrame, lambda frame: frame.collect().to_dicts()),
    "pandas": (pd.DataFrame, pd.DataFrame, lambda frame: pl.from_pandas(frame).to_dicts()),
    "arrow": (pa.Table.from_pylist, pa.Table, pa.Table.to_pylist),
    "datasets": (datasets.Dataset.from_list, datasets.Dataset, datasets.Dataset.to_list),
    "dicts": (list, list, list),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_of_every_kind_gives_the_same_pairs_in_its_own_kind(kind: str) -> None:
    make, own, rows = KINDS[kind]
    pairs: Any = ed.pairs(make(ROWS))
    assert isinstance(pairs, own)
    assert rows(pairs) == [PAIR]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_every_kind_keeps_the_rows_and_columns_of_the_drawn_prompts(kind: str) -> None:
    make, own, rows = KINDS[kind]
    numbered = [row | {"number": number} for number, row in enumerate(ROWS)]
    # The prompt b has an informativeness of 0, so it is never drawn.
    drawn: Any = ed.sample(make(numbered), fraction=1.0)
    assert isinstance(drawn, own)
    assert rows(drawn) == numbered[2:]


def test_informativeness_has_every_metric_in_the_order_of_the_table() -> None:
    first, second = ed.informativeness(ROWS)
    assert {name: round(value, 12) if isinstance(value, float) else value for name, value in second.items()} == {
        **{"prompt": "a", "n_scored": 3, "reward_max": 0.9, "reward_min": 0.1, "reward_mean": 0.5},
        **{"reward_var": 0.106666666667, "a_min": 0.8, "a_avg": 0.4, "a_dis": 0.4, "var": 0.106666666667},
        **{"avg": 0.5, "inv_avg": 2.0, "inv_a_min": 1.25, "uniform": 1.0, "reason": None},
    }
    assert (first["prompt"], first["a_min"], first["inv_a_min"]) == ("b", 0.0, None)


def test_lists_and_other_names_are_read_too() -> None:
    frame = pl.DataFrame({"q": ["a"], "answers": [["1", "2"]], "marks": [[3, 5]]})
    pairs = ed.pairs(frame, prompt="q", response="answers", reward="marks", conversational=False)
    assert pairs.to_dicts() == [
        {"prompt": "a", "chosen": "2", "rejected": "1", "score_chosen": 5.0, "score_rejected": 3.0}
    ]


def test_messages_stay_messages() -> None:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a"}]
    rows = [{"prompt": prompt, "response": str(reward), "reward": reward} for reward in (0.0, 1.0)]
    assert ed.informativeness(rows)[0]["prompt"] == prompt
    assert ed.pairs(rows)[0]["prompt"] == prompt
    with pytest.raises(DataError, match="several turns"):
        ed.pairs(rows, conversational=False)


def test_a_shuffled_dataset_is_read_in_its_order() -> None:
    shuffled = datasets.Dataset.from_list(ROWS).select([4, 0, 3, 1, 2])
    assert [row["prompt"] for row in ed.informativeness(shuffled)] == ["a", "b"]


def test_every_row_that_makes_no_pair_has_a_reason() -> None:
    rows = [
        *ROWS,
        {"prompt": "c", "response": "x", "reward": float("nan")},
        {"prompt": "", "response": "x", "reward": 1},
    ]
    assert ed.rejects(pl.DataFrame(rows, strict=False)).to_dicts() == [
        {"stage": "pair", "reason": "all_rewards_equal", "text": "b"},
        {"stage": "pair", "reason": "no_scored_response", "text": "c"},
        {"stage": "reward", "reason": "not_finite", "text": "x"},
        {"stage": "seeds", "reason": "empty", "text": "x"},
    ]


def test_a_mix_holds_four_new_prompts_and_one_original() -> None:
    before = [{"prompt": text} for text in "abcde"]
    # e is not new, h occurs twice, and x was eliminated.
    evolved = [{"prompt": text, "reason": None} for text in "efghhij"] + [
        {"prompt": "x", "reason": "copies_its_parent"}
    ]
    evolved += [{"prompt": None, "reason": None}]
    mixed = ed.mix(before, evolved)
    new = {row["prompt"] for row in mixed if row["origin"] == "evolved"}
    original = {row["prompt"] for row in mixed if row["origin"] == "original"}
    assert (len(mixed), len(new), len(original)) == (5, 4, 1)
    assert new < set("fghij")
    assert original < set("abcde")


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pl.DataFrame({"prompt": ["a"], "reply": ["b"]}), "`response` is `response`, but the table has the columns"),
        (pl.DataFrame({"response": ["a"], "reward": [1.0]}), "`prompt`"),
        (3, "the table is a builtins.int: expected a polars or pandas DataFrame"),
    ],
)
def test_a_table_that_does_not_fit_is_told_in_the_words_of_the_arguments(frame: object, says: str) -> None:
    with pytest.raises(DataError, match=says) as error:
        ed.pairs(frame)
    assert "solver." not in str(error.value)


def test_an_unknown_metric_and_a_share_out_of_range_are_told() -> None:
    with pytest.raises(ConfigError, match="there is no metric `a_max`: expected one of a_min"):
        ed.sample(ROWS, metric="a_max")
    with pytest.raises(ConfigError, match=r"`fraction` is 25: expected a number above 0 and at most 1"):
        ed.sample(ROWS, fraction=25)


def test_metrics_of_raw_lists_do_not_ask_for_an_order() -> None:
    rewards = [0.1, 0.9, 0.5]
    assert ed.metrics.a_dis(rewards) == pytest.approx(0.4, abs=1e-15)
    assert ed.metrics.a_min(rewards) == pytest.approx(0.8, abs=1e-15)
    assert ed.metrics.a_avg(rewards) == pytest.approx(0.4, abs=1e-15)
    assert ed.metrics.inv_avg(rewards) == pytest.approx(2.0, abs=1e-15)
    assert (ed.metrics.uniform(rewards), ed.metrics.a_min([0.5]), ed.metrics.inv_a_min([1, 1])) == (1.0, None, None)
    assert ed.metrics.a_min([1, None, float("nan"), 3]) == 2.0


@settings(max_examples=25)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=8), st.randoms())
def test_the_order_of_rewards_changes_no_metric(rewards: list[float], random: Any) -> None:
    shuffled = random.sample(rewards, len(rewards))
    for name in ed.metrics.__all__:
        metric = getattr(ed.metrics, name)
        assert metric(shuffled) == metric(rewards)


@settings(max_examples=8)
@given(st.permutations(ROWS))
def test_the_order_of_rows_changes_no_draw_and_no_pair(rows: list[dict[str, Any]]) -> None:
    assert ed.pairs(rows) == [PAIR]
    assert {row["response"] for row in ed.sample(rows, fraction=0.5)} == {"1", "2", "3"}
