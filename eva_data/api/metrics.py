"""The informativeness metrics on the rewards of one prompt, in any order.

Each function takes numbers, of which those that are None or not finite do not count, and returns a number; None if
fewer than two count or the metric is undefined. Rewards that are equal but for rounding are equal. The columns of
`informativeness` hold the same values.
"""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from eva_data.method.estimate import without_noise
from eva_data.tables.metrics import METRICS

__all__ = ["a_avg", "a_dis", "a_min", "avg", "inv_a_min", "inv_avg", "uniform", "var"]


def a_min(rewards: Iterable[float | None]) -> float | None:
    """Best minus worst reward, at least 0 (paper: equations 5 and 6): the default of `sample`."""
    return _value("a_min", rewards)


def a_avg(rewards: Iterable[float | None]) -> float | None:
    """Best minus mean reward, at least 0 (paper: table 3)."""
    return _value("a_avg", rewards)


def a_dis(rewards: Iterable[float | None]) -> float | None:
    """Best minus second-best reward, at least 0 (paper: table 3)."""
    return _value("a_dis", rewards)


def var(rewards: Iterable[float | None]) -> float | None:
    """Population variance of the rewards."""
    return _value("var", rewards)


def avg(rewards: Iterable[float | None]) -> float | None:
    """Mean reward."""
    return _value("avg", rewards)


def inv_avg(rewards: Iterable[float | None]) -> float | None:
    """1 / mean reward; None if the mean is 0."""
    return _value("inv_avg", rewards)


def inv_a_min(rewards: Iterable[float | None]) -> float | None:
    """1 / (best minus worst reward); None if all rewards are equal."""
    return _value("inv_a_min", rewards)


def uniform(rewards: Iterable[float | None]) -> float | None:
    """1 for every prompt."""
    return _value("uniform", rewards)


def _value(metric: str, rewards: Iterable[float | None]) -> float | None:
    numbers = pl.Series("rewards", list(rewards), dtype=pl.Float64, strict=False)
    ordered = numbers.filter(numbers.is_finite()).sort()
    lists = pl.DataFrame({"rewards": [ordered]}, schema={"rewards": pl.List(pl.Float64)})
    value: float | None = lists.select(METRICS[metric](without_noise(pl.col("rewards")))).item()
    return value
