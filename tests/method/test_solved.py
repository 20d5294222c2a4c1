"""Solved and unsolved prompts: what the responses must reach, by default and by the settings, and what follows."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from eva_data.config import Config, Estimate, Pair
from eva_data.config.reading import load_config
from eva_data.errors import DataError
from eva_data.iteration.stages import estimate_and_sample
from eva_data.method.solved import Bar, bar_of, graded, needed, threshold
from eva_data.tables.schemas import PROMPTS, RESPONSES, conform

BEST = pl.Series([None, 5.0, 1.0, 2.0, 3.0, 4.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0], dtype=pl.Float64)


def settings(*overrides: str) -> Config:
    return load_config(None, overrides)


def test_the_threshold_is_what_is_set_or_that_of_pairs_or_a_quantile_of_the_first_best_rewards() -> None:
    assert threshold(Estimate(min_best=0.5), Pair(min_chosen=1.0), BEST) == 0.5
    assert threshold(Estimate(), Pair(min_chosen=1.0), BEST) == 1.0
    # The eleven known rewards are 1 to 11: the value at place 1 of 0 to 10.
    assert threshold(Estimate(), Pair(), BEST) == 2.0
    assert threshold(Estimate(min_best=None), Pair(min_chosen=1.0), BEST) is None
    assert threshold(Estimate(), Pair(), pl.Series([None], dtype=pl.Float64)) is None


def test_of_rewards_that_are_right_or_wrong_two_must_be_right_and_of_two_responses_one() -> None:
    right_or_wrong, in_between = pl.Series([0.0, None, 1.0, float("nan")]), pl.Series([0.0, 0.5])
    assert (graded(right_or_wrong), graded(in_between)) == (False, True)
    assert [needed(Estimate(), False, responses) for responses in (2, 3, 6)] == [1, 2, 2]
    assert needed(Estimate(), True, 6) == 1
    assert needed(Estimate(min_right=4), False, 6) == needed(Estimate(min_right=4), True, 2) == 4
    assert bar_of(settings("pair.min_chosen=1"), right_or_wrong, BEST, responses=6) == Bar(1.0, 2)
    assert bar_of(settings("estimate.min_best=null"), right_or_wrong, BEST, responses=6) is None


def test_rewards_reach_the_bar_up_to_noise() -> None:
    rewards = pl.DataFrame({"rewards": [[0.0, 0.1 + 0.2], [0.0, 0.3, 0.3], [0.2], []]})
    once, twice = (rewards.select(Bar(0.3, right).reached(pl.col("rewards"))).to_series() for right in (1, 2))
    assert once.to_list() == [True, True, False, False]
    assert twice.to_list() == [False, True, False, False]


def _prompts(depths: dict[str, int]) -> pl.DataFrame:
    return conform(pl.DataFrame({"prompt_id": [*depths], "depth": [*depths.values()]}), PROMPTS)


def _answers(rewards: dict[str, list[float]]) -> pl.DataFrame:
    rows = [(name, number, reward, "stop") for name, given in rewards.items() for number, reward in enumerate(given)]
    table = pl.DataFrame(rows, schema=["prompt_id", "response_idx", "reward", "finish_reason"], orient="row")
    return conform(table, RESPONSES)


GUESSED = {
    "all": [1.0, 1.0, 1.0],
    "guess": [0.0, 0.0, 1.0],
    "never": [0.0, 0.0, 0.0],
    "often": [0.0, 1.0, 1.0],
}


@pytest.mark.parametrize("method", ["weighted", "greedy", "uniform", "stratified"])
def test_an_unsolved_prompt_has_its_metrics_and_is_not_drawn_by_any_method(method: str) -> None:
    config = settings(f"sample.method={method}", "sample.fraction=1", "pair.min_chosen=1")
    before = _prompts(dict.fromkeys(GUESSED, 0))
    sampled = estimate_and_sample(config, 2, before, _answers(GUESSED), 3, BEST)
    found = sampled.informativeness.select("prompt_id", "a_min", "reason", "selected").collect()
    easy = method != "weighted"
    assert_frame_equal(
        found,
        pl.DataFrame(
            {
                "prompt_id": ["all", "guess", "never", "often"],
                "a_min": [0.0, 1.0, 0.0, 1.0],
                "reason": [None, "unsolved", "unsolved", None],
                # A weighted draw leaves out what weighs nothing.
                "selected": [easy, False, False, True],
            }
        ),
    )
    assert "2 of 4 prompts are unsolved by `estimate.min_best` and cannot be drawn" in sampled.notes


def test_without_a_bar_everything_is_as_before() -> None:
    config = settings("sample.fraction=1", "estimate.min_best=null")
    sampled = estimate_and_sample(config, 2, _prompts(dict.fromkeys(GUESSED, 0)), _answers(GUESSED), 3, BEST)
    found = sampled.informativeness.collect()
    assert found["reason"].null_count() == 4
    assert found.filter("selected")["prompt_id"].to_list() == ["guess", "often"]


def test_the_deepest_prompts_are_not_drawn() -> None:
    config = settings("sample.method=uniform", "sample.fraction=1", "evolve.max_depth=2", "estimate.min_best=null")
    before = _prompts({"all": 1, "guess": 2, "never": 3, "often": 0})
    sampled = estimate_and_sample(config, 2, before, _answers(GUESSED), 3, BEST)
    found = sampled.informativeness.select("prompt_id", "reason", "selected").collect().rows()
    assert found == [
        ("all", None, True),
        ("guess", "max_depth", False),
        ("never", "max_depth", False),
        ("often", None, True),
    ]
    assert "2 of 4 prompts are as deep as `evolve.max_depth` and cannot be drawn" in sampled.notes


def test_where_nothing_is_solved_the_error_says_so() -> None:
    config, answers = settings("pair.min_chosen=1"), _answers({"a": [0.0, 0.0], "b": [0.0, 0.0]})
    with pytest.raises(DataError, match=r"may be evolved \(2 of 2 prompts are unsolved by `estimate\.min_best`"):
        estimate_and_sample(config, 2, _prompts({"a": 0, "b": 0}), answers, 2, BEST)
