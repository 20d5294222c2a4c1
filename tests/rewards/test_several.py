"""Several reward models: the constants of each model, standardised rewards, and rewards that are left out."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.errors import DataError
from eva_data.rewards.several import averaged, reward_scales

SCORED = {
    "prompt_id": pl.String,
    "response_idx": pl.Int32,
    "reward_model": pl.String,
    "reward": pl.Float64,
    "reason": pl.String,
}
AVERAGED = {name: SCORED[name] for name in ("prompt_id", "response_idx", "reward", "reason")}


def scored(*rows: tuple[str, int, str, float | None, str | None]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCORED, orient="row")


def table(rewards: Sequence[Sequence[float]]) -> pl.DataFrame:
    """Rewards of one prompt, by reward model and response."""
    models = "abcdef"[: len(rewards)]
    return scored(
        *[("p", i, name, value, None) for name, row in zip(models, rewards, strict=True) for i, value in enumerate(row)]
    )


TWO = scored(
    ("p", 0, "judge", 2, None),
    ("p", 1, "judge", 4, None),
    ("q", 0, "judge", 4, None),
    ("q", 1, "judge", 6, None),
    ("p", 0, "logit", -1, None),
    ("p", 1, "logit", 1, None),
    ("q", 0, "logit", -1, None),
    ("q", 1, "logit", 1, None),
)


def test_scales_are_mean_and_population_deviation_by_model() -> None:
    # judge: (4 + 0 + 0 + 4) / 4 = 2.
    assert reward_scales(TWO) == {"judge": [4.0, math.sqrt(2)], "logit": [0.0, 1.0]}


def test_rewards_are_standardised_then_averaged() -> None:
    root = math.sqrt(2)
    # Also after the constants were written down and read.
    scales = json.loads(json.dumps(reward_scales(TWO)))
    expected = pl.DataFrame(
        [
            ("p", 0, (-root - 1) / 2, None),
            ("p", 1, (0 + 1) / 2, None),
            ("q", 0, (0 - 1) / 2, None),
            ("q", 1, (root + 1) / 2, None),
        ],
        schema=AVERAGED,
        orient="row",
    )
    assert_frame_equal(averaged(TWO, scales), expected)


def test_frozen_constants_are_used_as_they_are() -> None:
    rows = scored(("p", 0, "a", 3, None), ("p", 0, "b", 10, None))
    # (3 - 1) / 4 = 0.5 and (10 - 20) / 5 = -2.
    assert averaged(rows, {"b": [20, 5], "a": [1, 4]}).rows() == [("p", 0, -0.75, None)]


def test_a_response_that_one_model_could_not_score_has_no_reward() -> None:
    rows = scored(
        ("p", 0, "a", 1, None),
        ("p", 0, "b", None, "unparsable: the reply is empty"),
        ("p", 1, "a", None, "too_long"),
        ("p", 1, "b", None, "gave_up: HTTP 503"),
        ("p", 2, "a", float("nan"), None),
        ("p", 2, "b", 1, None),
        ("p", 3, "b", 1, None),
        ("p", 4, "a", 1, None),
        ("p", 4, "b", 1, None),
        ("p", 5, "a", float("inf"), "odd"),
        ("p", 5, "b", None, None),
    )
    assert averaged(rows, {"a": [0, 1], "b": [0, 1]}).rows() == [
        ("p", 0, None, "unscored_by: b: unparsable: the reply is empty"),
        ("p", 1, None, "unscored_by: a: too_long"),
        ("p", 2, None, "unscored_by: a: not_finite"),
        ("p", 3, None, "unscored_by: a: not_scored"),
        ("p", 4, 1.0, None),
        ("p", 5, None, "unscored_by: a: not_finite"),
    ]


def test_rewards_that_are_not_finite_do_not_enter_the_constants() -> None:
    values = [1.0, None, float("nan"), 3.0, float("inf"), -float("inf")]
    rows = scored(*[("p", i, "a", value, None) for i, value in enumerate(values)])
    assert reward_scales(rows) == {"a": [2.0, 1.0]}


def test_no_rows_give_no_rows() -> None:
    assert reward_scales(scored()) == {}
    assert_frame_equal(averaged(scored(), {"a": [0, 1]}), pl.DataFrame(schema=AVERAGED))


def test_a_model_that_gives_everything_the_same_reward_is_named() -> None:
    # The mean of three 0.1 is not 0.1, yet they do not deviate.
    rows = scored(
        *[("p", i, "dull", 0.1, None) for i in range(3)], ("p", 0, "sharp", 1, None), ("p", 1, "sharp", 2, None)
    )
    with pytest.raises(DataError, match="the reward model `dull` have the deviation 0, "):
        reward_scales(rows)
    with pytest.raises(DataError, match="the reward model `dull` have the deviation 0, "):
        averaged(rows, {"dull": [0.1, 0.0], "sharp": [1.5, 0.5]})


def test_rewards_that_are_equal_but_for_noise_are_equal() -> None:
    with pytest.raises(DataError, match="rewards of the reward model `a` have the deviation 0"):
        reward_scales(table([[0.1 + 0.2, 0.3, 0.3]]))
    assert reward_scales(table([[1e-6, 2e-6]])) == {"a": pytest.approx([1.5e-6, 0.5e-6])}


def test_a_model_that_scored_nothing_is_named() -> None:
    rows = scored(("p", 0, "a", None, "too_long"), ("p", 0, "b", 1, None), ("p", 1, "b", 2, None))
    with pytest.raises(DataError, match="the reward model `a` scored no response at all"):
        reward_scales(rows)


def test_a_model_without_constants_is_named() -> None:
    message = "no mean and deviation are known of the reward model `logit`, only of `judge`"
    with pytest.raises(DataError, match=re.escape(message)):
        averaged(TWO, {"judge": [0, 1]})


NUMBERS = st.integers(-1000, 1000).map(lambda eighths: eighths / 8)
REWARDS = st.integers(2, 6).flatmap(
    lambda n: st.lists(
        st.lists(NUMBERS, min_size=n, max_size=n).filter(lambda row: len(set(row)) > 1), min_size=1, max_size=3
    )
)


@pytest.mark.slow
@given(REWARDS, st.sampled_from([0.25, 1.0, 3.0, 1000.0]), NUMBERS)
def test_another_unit_and_zero_of_one_model_change_nothing(
    rewards: list[list[float]], unit: float, zero: float
) -> None:
    rows = table(rewards)
    other = table([[unit * value + zero for value in rewards[0]], *rewards[1:]])
    assert_frame_equal(
        averaged(rows, reward_scales(rows)), averaged(other, reward_scales(other)), rel_tol=1e-9, abs_tol=1e-9
    )


@pytest.mark.slow
@given(REWARDS, st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_no_bit(rewards: list[list[float]], order: random.Random) -> None:
    rows = table(rewards)
    places = list(range(rows.height))
    order.shuffle(places)
    assert reward_scales(rows[places]) == reward_scales(rows)
    assert_frame_equal(
        averaged(rows[places], reward_scales(rows)), averaged(rows, reward_scales(rows)), check_exact=True
    )


@given(REWARDS)
def test_standardised_rewards_have_mean_0_and_each_model_the_same_weight(rewards: list[list[float]]) -> None:
    rows = table(rewards)
    found = averaged(rows, reward_scales(rows))["reward"]
    assert found.mean() == pytest.approx(0, abs=1e-9)
    alone = averaged(rows.filter(reward_model="a"), reward_scales(rows.filter(reward_model="a")))["reward"]
    assert alone.std(ddof=0) == pytest.approx(1)
