"""Informativeness metrics: how much the solver still has to learn from a prompt, by the rewards of its responses.

Every metric is an expression over a List(Float64) column. The list holds the finite rewards r of the responses to one
prompt *in ascending order*; a metric is null if there are fewer than two. The caller sorts, once for all metrics:
`a_dis` finds the second-best reward by its place, and the sums in `a_avg`, `var` and `avg` would differ in their last
bits with the order of the rows.

A metric is defined here once, under `_metric`. Its columns, the values of `estimate.metric` and its words in card and
pictures follow from that. The order of this module is the order of the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import polars as pl

Formula: TypeAlias = Callable[[pl.Expr], pl.Expr]

METRICS: dict[str, Formula] = {}
"""Every metric by the name of its column. All metrics are stored, whichever metric the sampling uses."""

MEANING: dict[str, str] = {}
"""Every metric in a few words, about the rewards of the answers to one prompt."""

LATER: list[str] = []
"""Metrics that release 0.1.0 did not have, so that its tables lack their columns."""

CUSTOM = "custom"
"""The column of the user's own metric. It is there only if `estimate.metric` names a function."""


def column_of(metric: str) -> str:
    """The column that holds the values of an `estimate.metric`."""
    return metric if metric in METRICS else CUSTOM


def meaning_of(metric: str) -> str:
    """A metric in a few words."""
    return MEANING.get(metric, "a metric of our own")


def _metric(meaning: str, *, later: bool = False) -> Callable[[Formula], Formula]:
    """Register a metric under the name of its function. `later` says that release 0.1.0 did not have it."""

    def register(formula: Formula) -> Formula:
        LATER.extend([formula.__name__] * later)
        METRICS[formula.__name__] = formula
        MEANING[formula.__name__] = meaning
        return formula

    return register


@_metric("best minus worst reward")
def a_min(rewards: pl.Expr) -> pl.Expr:
    """max r - min r, the gap between the best and the worst response (paper: equations 5 and 6, table 3).

    At least 0, and 0 if all rewards are equal. It is the default of offline training.
    """
    return defined(rewards, rewards.list.max() - rewards.list.min())


@_metric("best minus mean reward")
def a_avg(rewards: pl.Expr) -> pl.Expr:
    """max r - mean r, the gap between the best and the average response (paper: table 3).

    At least 0. It is computed as the mean of the gaps to the best reward, so that equal rewards give exactly 0.
    Otherwise a rounded mean could lie above the maximum, and an advantage of 1e-17 is not an advantage.
    """
    return defined(rewards, (rewards.list.max() - rewards).list.mean())


@_metric("best minus second best")
def a_dis(rewards: pl.Expr) -> pl.Expr:
    """max r - the second-highest reward (paper: table 3); 0 if two responses share the highest."""
    return defined(rewards, rewards.list.max() - rewards.list.get(-2, null_on_oob=True))


@_metric("variance of the rewards")
def var(rewards: pl.Expr) -> pl.Expr:
    """Population variance of the rewards (paper: baseline of table 4).

    It is computed from the gaps to the smallest reward, so that equal rewards give exactly 0.
    """
    return defined(rewards, (rewards - rewards.list.min()).list.var(ddof=0))


@_metric("mean reward")
def avg(rewards: pl.Expr) -> pl.Expr:
    """Mean reward (paper: baseline of table 4); it may have any sign."""
    return defined(rewards, rewards.list.mean())


@_metric("1 / mean reward")
def inv_avg(rewards: pl.Expr) -> pl.Expr:
    """1 / mean reward (paper: baseline of table 4); null if the mean is 0, see `_inverse`."""
    return _inverse(avg(rewards))


@_metric("1 / (best minus worst)")
def inv_a_min(rewards: pl.Expr) -> pl.Expr:
    """1 / (max r - min r) (paper: baseline of table 4); null if all rewards are equal, see `_inverse`."""
    return _inverse(a_min(rewards))


@_metric("1 for every prompt")
def uniform(rewards: pl.Expr) -> pl.Expr:
    """1 for every prompt (paper: baseline of table 4)."""
    return defined(rewards, pl.lit(1.0))


def defined(rewards: pl.Expr, value: pl.Expr) -> pl.Expr:
    """The value, or null if there are fewer than two rewards."""
    return pl.when(rewards.list.len() >= 2).then(value)


def _inverse(value: pl.Expr) -> pl.Expr:
    """1 / value, or null if that is infinite.

    An infinite weight is useless: it would make the draw certain, and min-max would give every other prompt the
    weight 0. `sample` counts the prompts that it cannot draw for this reason.
    """
    inverse = 1.0 / value
    return pl.when(inverse.is_finite()).then(inverse)
