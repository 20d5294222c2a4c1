"""The metrics, compared with numbers worked by hand and with plain Python."""

from __future__ import annotations

import math
import statistics

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.tables import schemas
from eva_data.tables.metrics import METRICS

_REWARDS = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


def _metrics(rewards: list[list[float] | None]) -> pl.DataFrame:
    table = pl.DataFrame({"rewards": rewards}, schema={"rewards": pl.List(pl.Float64)})
    return table.select(metric(pl.col("rewards")).alias(name) for name, metric in METRICS.items())


def test_metrics_of_four_rewards_by_hand() -> None:
    # mean 8 / 4 = 2; squares about it 1 + 1 + 1 + 9 over 4 = 3
    assert_frame_equal(
        _metrics([[1.0, 1.0, 1.0, 5.0]]),
        pl.DataFrame(
            {
                "a_min": [4.0],
                "a_avg": [3.0],
                "a_dis": [4.0],
                "var": [3.0],
                "avg": [2.0],
                "inv_avg": [0.5],
                "inv_a_min": [0.25],
                "uniform": [1.0],
            }
        ),
    )


def test_two_best_responses_leave_nothing_between_best_and_second() -> None:
    assert_frame_equal(
        _metrics([[-4.0, 2.0, 2.0]]),
        pl.DataFrame(
            {
                "a_min": [6.0],
                "a_avg": [2.0],
                "a_dis": [0.0],
                "var": [8.0],
                "avg": [0.0],
                "inv_avg": [None],
                "inv_a_min": [1 / 6],
                "uniform": [1.0],
            },
            schema_overrides={"inv_avg": pl.Float64},
        ),
    )


@pytest.mark.parametrize("rewards", [None, [], [1.0]])
def test_fewer_than_two_rewards_have_no_metric(rewards: list[float] | None) -> None:
    assert _metrics([rewards]).row(0) == (None,) * len(METRICS)


@pytest.mark.parametrize("reward", [0.1, -0.7, 1e-9, 3.3e5])
@pytest.mark.parametrize("n", [2, 3, 6, 7])
def test_equal_rewards_give_exactly_zero_and_no_inverse(reward: float, n: int) -> None:
    row = _metrics([[reward] * n]).row(0, named=True)
    assert (row["a_min"], row["a_avg"], row["a_dis"], row["var"]) == (0.0, 0.0, 0.0, 0.0)
    assert row["inv_a_min"] is None


@given(_REWARDS)
def test_metrics_agree_with_plain_python(rewards: list[float]) -> None:
    rewards = sorted(rewards)
    row = _metrics([rewards]).row(0, named=True)
    close = {"rel_tol": 1e-9, "abs_tol": 1e-9}
    mean = math.fsum(rewards) / len(rewards)
    assert row["a_min"] == max(rewards) - min(rewards)
    assert row["a_dis"] == max(rewards) - sorted(rewards, reverse=True)[1]
    assert math.isclose(row["a_avg"], max(rewards) - mean, **close)
    assert math.isclose(row["var"], statistics.pvariance(rewards), **close)
    assert math.isclose(row["avg"], mean, **close)
    assert row["inv_avg"] == (None if row["avg"] == 0 else pytest.approx(1 / row["avg"]))
    assert row["inv_a_min"] == (None if row["a_min"] == 0 else pytest.approx(1 / row["a_min"]))


@given(_REWARDS)
def test_gaps_are_never_negative_and_ordered(rewards: list[float]) -> None:
    row = _metrics([sorted(rewards)]).row(0, named=True)
    assert 0 <= row["a_dis"] <= row["a_min"]
    assert 0 <= row["a_avg"] <= row["a_min"]
    assert row["var"] >= 0


def test_the_records_name_these_metrics_in_this_order() -> None:
    assert tuple(METRICS) == schemas.METRICS
