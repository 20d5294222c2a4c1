"""From scored responses to the informativeness of each prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.errors import DataError
from eva_data.method.estimate import informativeness
from eva_data.tables.ranges import id_ranges
from eva_data.tables.schemas import INFORMATIVENESS, METRICS, RESPONSES, check, conform

Response = tuple[str, int, float | None, str]


def _responses(rows: Sequence[Response], **constants: str) -> pl.LazyFrame:
    table = pl.DataFrame(rows, schema=["prompt_id", "response_idx", "reward", "finish_reason"], orient="row")
    columns = {"solver": "theta_1", "reward_model": "rm", **constants}
    return conform(table.with_columns(**{name: pl.lit(value) for name, value in columns.items()}), RESPONSES).lazy()


def _estimate(responses: pl.LazyFrame, **settings: object) -> pl.DataFrame:
    given_settings = {"stage": "estimate", "iteration": 2, "seed": 1, "n": 4} | settings
    return informativeness(responses, **given_settings).collect()  # type: ignore[arg-type]


def _prompts(draw: st.DrawFn) -> list[Response]:
    rewards = st.one_of(st.none(), st.floats(-100, 100), st.just(math.nan), st.just(math.inf))
    finish = st.sampled_from(["stop", "length"])
    counts = draw(st.lists(st.integers(0, 6), min_size=1, max_size=5))
    return [
        (f"{number:x}{number:x}", index, draw(rewards), draw(finish))
        for number, count in enumerate(counts)
        for index in range(count)
    ]


PROMPTS_OF_RESPONSES = st.composite(_prompts)()


def test_one_row_per_prompt_with_every_metric() -> None:
    responses = _responses(
        [
            ("b", 0, 2.0, "stop"),
            ("a", 0, 5.0, "stop"),
            ("a", 1, 1.0, "stop"),
            ("a", 2, 1.0, "stop"),
            ("b", 1, 2.0, "stop"),
            ("a", 3, 1.0, "stop"),
        ]
    )
    expected = pl.DataFrame(
        {
            "stage": ["estimate", "estimate"],
            "prompt_id": ["a", "b"],
            "n_scored": [4, 2],
            "reward_max": [5.0, 2.0],
            "reward_min": [1.0, 2.0],
            "reward_mean": [2.0, 2.0],
            "reward_var": [3.0, 0.0],
            "a_min": [4.0, 0.0],
            "a_avg": [3.0, 0.0],
            "a_dis": [4.0, 0.0],
            "var": [3.0, 0.0],
            "avg": [2.0, 2.0],
            "inv_avg": [0.5, 0.5],
            "inv_a_min": [0.25, None],
            "uniform": [1.0, 1.0],
            "custom": [None, None],
            "custom_metric": [None, None],
            "votes": [None, None],
            "agreement": [None, None],
            "consensus": [None, None],
            "known_answer": [None, None],
            "reason": [None, None],
            "weight": [None, None],
            "draw": [None, None],
            "selected": [None, None],
            "solver": ["theta_1", "theta_1"],
            "reward_model": ["rm", "rm"],
            "iteration": [2, 2],
        },
        schema=INFORMATIVENESS,
    )
    assert_frame_equal(_estimate(responses), expected)


def test_rewards_that_are_missing_or_infinite_and_responses_that_were_cut_do_not_count() -> None:
    responses = _responses(
        [
            ("few", 0, 1.0, "stop"),
            ("few", 1, None, "stop"),
            ("few", 2, math.nan, "stop"),
            ("few", 3, math.inf, "stop"),
            ("fine", 0, 1.0, "stop"),
            ("fine", 1, 3.0, "stop"),
            ("fine", 2, 9.0, "length"),
            ("cut", 0, 1.0, "stop"),
            ("cut", 1, 3.0, "length"),
        ]
    )
    prompt_ids = pl.LazyFrame({"prompt_id": ["cut", "few", "fine", "silent"]})
    expected = pl.DataFrame(
        {
            "prompt_id": ["cut", "few", "fine", "silent"],
            "n_scored": [1, 1, 2, 0],
            "reward_max": [1.0, 1.0, 3.0, None],
            "reward_mean": [1.0, 1.0, 2.0, None],
            "reward_var": [None, None, 1.0, None],
            "a_min": [None, None, 2.0, None],
            "uniform": [None, None, 1.0, None],
            "reason": [
                "fewer_than_two_complete_responses",
                "fewer_than_two_finite_rewards",
                None,
                "no_response",
            ],
            "solver": ["theta_1", "theta_1", "theta_1", None],
        },
        schema_overrides={"n_scored": pl.Int32},
    )
    found = _estimate(responses, prompt_ids=prompt_ids)
    check(found, INFORMATIVENESS, "informativeness")
    assert_frame_equal(found.select(expected.columns), expected)


def test_responses_that_were_cut_count_where_the_settings_say_so() -> None:
    responses = _responses([("a", 0, 1.0, "stop"), ("a", 1, 3.0, "length")])
    found = _estimate(responses, count_truncated=True)
    assert found.select("n_scored", "a_min", "reason").row(0) == (2, 2.0, None)


def test_a_model_is_named_only_where_all_responses_of_a_prompt_share_it() -> None:
    rows: list[Response] = [("a", 0, 1.0, "stop"), ("a", 1, 2.0, "stop")]
    mixed = pl.concat([_responses(rows), _responses([("a", 2, 3.0, "stop")], solver="other")])
    assert _estimate(mixed).select("solver", "reward_model").row(0) == (None, "rm")


def test_of_more_responses_than_n_a_fixed_draw_of_n_counts() -> None:
    rows = [(prompt, index, float(index), "stop") for prompt in "abcdefgh" for index in range(6)]
    of_four = _estimate(_responses(rows), n=4)
    assert of_four["n_scored"].to_list() == [4] * 8
    assert of_four["reward_mean"].n_unique() > 1, "each prompt has a draw of its own"
    assert_frame_equal(_estimate(_responses(rows[::-1]), n=4), of_four)
    assert not _estimate(_responses(rows), n=4, seed=2).equals(of_four)


def test_the_draw_of_n_is_among_those_that_count() -> None:
    cut = [("a", index, -1.0, "length") for index in range(20)]
    stopped = [("a", index, 1.0, "stop") for index in range(20, 24)]
    found = _estimate(_responses([*cut, *stopped]), n=4)
    assert found.select("n_scored", "reward_min").row(0) == (4, 1.0)


def test_a_prompt_with_few_responses_does_not_cut_the_others() -> None:
    responses = _responses([(p, i, float(i), "stop") for p, n in [("a", 2), ("b", 4)] for i in range(n)])
    assert _estimate(responses)["n_scored"].to_list() == [2, 4]


def test_unequal_numbers_are_refused_where_the_settings_say_so() -> None:
    unequal = _responses([(p, i, 1.0, "stop") for p, n in [("a", 2), ("b", 4), ("c", 4)] for i in range(n)])
    with pytest.raises(DataError, match="1 prompts with 2, 2 prompts with 4"):
        _estimate(unequal, unequal="refuse")
    equal = unequal.filter(pl.col("prompt_id") != "a")
    assert_frame_equal(_estimate(equal, unequal="refuse"), _estimate(equal))


@pytest.mark.slow
@given(PROMPTS_OF_RESPONSES, st.integers(2, 5), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(rows: list[Response], n: int, random) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(rows, len(rows))
    prompt_ids = pl.LazyFrame({"prompt_id": ["00", "ff"]})
    assert_frame_equal(
        _estimate(_responses(shuffled), n=n, prompt_ids=prompt_ids.reverse()),
        _estimate(_responses(rows), n=n, prompt_ids=prompt_ids),
        check_exact=True,
    )


@pytest.mark.slow
@given(PROMPTS_OF_RESPONSES, st.integers(1, 4))
def test_ranges_of_prompts_give_the_whole(rows: list[Response], parts: int) -> None:
    # Of one prompt all responses are another solver's: a range knows one solver, the whole table two.
    solver = pl.when(pl.col("prompt_id") == "11").then(pl.lit("other")).otherwise("solver")
    responses, prompt_ids = _responses(rows).with_columns(solver=solver), pl.LazyFrame({"prompt_id": ["00", "ff"]})
    pieces = [_estimate(r.of(responses), prompt_ids=r.of(prompt_ids)) for r in id_ranges(parts)]
    assert_frame_equal(pl.concat(pieces), _estimate(responses, prompt_ids=prompt_ids), check_exact=True)


@given(PROMPTS_OF_RESPONSES)
def test_every_prompt_has_metrics_or_a_reason(rows: list[Response]) -> None:
    found = _estimate(_responses(rows))
    assert found["prompt_id"].to_list() == sorted({row[0] for row in rows})
    assert found["a_min"].is_null().equals(found["reason"].is_not_null())
    assert found["a_min"].is_null().equals(found["n_scored"] < 2)


@pytest.mark.parametrize("column", ["reward", "reward_logit"])
def test_real_rewards_give_what_a_loop_gives(shared_data: Path, column: str) -> None:
    real = pl.read_parquet(shared_data / "responses_alpaca_eval.parquet").with_columns(
        reward=column, response_idx=pl.int_range(pl.len()).over("prompt_id"), solver="model"
    )
    found = _estimate(conform(real.select(c for c in RESPONSES if c in real.columns), RESPONSES).lazy(), n=55)
    assert found.height == 805
    rewards = {key[0]: group[column].to_numpy() for key, group in real.group_by("prompt_id")}
    for row in found.iter_rows(named=True):
        r = rewards[row["prompt_id"]]
        best = np.sort(r)[::-1]
        expected = {
            "a_min": r.max() - r.min(),
            "a_avg": r.max() - r.mean(),
            "a_dis": best[0] - best[1],
            "var": np.mean((r - r.mean()) ** 2),
            "avg": r.mean(),
            "inv_avg": 1 / r.mean(),
            "inv_a_min": 1 / (r.max() - r.min()),
            "uniform": 1.0,
        }
        assert set(expected) == set(METRICS)
        assert row["n_scored"] == len(r)
        for metric, value in expected.items():
            assert row[metric] == pytest.approx(value, rel=1e-9, abs=1e-12), metric
