"""Informativeness metrics: how much the solver still has to learn from a prompt, read off its rewards.

Every metric is an expression over a List(Float64) column that holds the finite rewards r of a prompt's
responses *in ascending order*, and is null where there are fewer than two. Sorting is left to the caller,
who does it once: `a_dis` reads the second-best by its place, and the sums behind `a_avg`, `var` and `avg`
would differ in their last bits with the order of the rows.

A metric stands here once, under `_metric`: its columns, the values of `estimate.metric` and its words in card and
pictures follow from that. The order of this module is the order of the columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import polars as pl

Formula: TypeAlias = Callable[[pl.Expr], pl.Expr]

METRICS: dict[str, Formula] = {}
"""Every metric by the name of its column; all of them are stored, whichever one is sampled by."""

MEANING: dict[str, str] = {}
"""The metrics in a few words, of the rewards of the answers to one prompt."""

LATER: list[str] = []
"""Metrics that release 0.1.0 did not have, so that its tables are without them."""

CUSTOM = "custom"
"""The column of the user's own metric, which is there only where `estimate.metric` names a function."""


def column_of(metric: str) -> str:
    """The column that holds the values of an `estimate.metric`."""
    return metric if metric in METRICS else CUSTOM


def meaning_of(metric: str) -> str:
    """A metric in a few words."""
    return MEANING.get(metric, "a metric of our own")


def _metric(meaning: str, *, later: bool = False) -> Callable[[Formula], Formula]:
    """Enter a metric under the name of its function; `later` if release 0.1.0 did not have it."""

    def register(formula: Formula) -> Formula:
        LATER.extend([formula.__name__] * later)
        METRICS[formula.__name__] = formula
        MEANING[formula.__name__] = meaning
        return formula

    return register


@_metric("best minus worst reward")
def a_min(rewards: pl.Expr) -> pl.Expr:
    """max r - min r, the gap between the best and the worst response (paper: equations 5 and 6, table 3).

    At least 0; 0 where all rewards are equal. The default of offline training.
    """
    return defined(rewards, rewards.list.max() - rewards.list.min())


@_metric("best minus mean reward")
def a_avg(rewards: pl.Expr) -> pl.Expr:
    """max r - mean r, the gap between the best and the average response (paper: table 3).

    At least 0. Computed as the mean of the gaps to the best, so that equal rewards give exactly 0: a
    rounded mean can lie above the maximum, and an advantage of -1e-17 or 1e-17 is no advantage.
    """
    return defined(rewards, (rewards.list.max() - rewards).list.mean())


@_metric("best minus second best")
def a_dis(rewards: pl.Expr) -> pl.Expr:
    """max r - the second of the sorted rewards (paper: table 3); 0 where two responses share the best."""
    return defined(rewards, rewards.list.max() - rewards.list.get(-2, null_on_oob=True))


@_metric("variance of the rewards")
def var(rewards: pl.Expr) -> pl.Expr:
    """Population variance of the rewards (paper: baseline of table 4).

    Taken about the smallest reward, so that equal rewards give exactly 0.
    """
    return defined(rewards, (rewards - rewards.list.min()).list.var(ddof=0))


@_metric("mean reward")
def avg(rewards: pl.Expr) -> pl.Expr:
    """Mean reward (paper: baseline of table 4); of any sign."""
    return defined(rewards, rewards.list.mean())


@_metric("1 / mean reward")
def inv_avg(rewards: pl.Expr) -> pl.Expr:
    """1 / mean reward (paper: baseline of table 4); null where the mean is 0, see `_inverse`."""
    return _inverse(avg(rewards))


@_metric("1 / (best minus worst)")
def inv_a_min(rewards: pl.Expr) -> pl.Expr:
    """1 / (max r - min r) (paper: baseline of table 4); null where all rewards are equal, see `_inverse`."""
    return _inverse(a_min(rewards))


@_metric("1 for every prompt")
def uniform(rewards: pl.Expr) -> pl.Expr:
    """1 for every prompt (paper: baseline of table 4)."""
    return defined(rewards, pl.lit(1.0))


def defined(rewards: pl.Expr, value: pl.Expr) -> pl.Expr:
    """The value, null with fewer than two rewards."""
    return pl.when(rewards.list.len() >= 2).then(value)


def _inverse(value: pl.Expr) -> pl.Expr:
    """1 / value, null where that is infinite.

    An infinite weight is no weight: it would make the draw certain, and min-max would send every other
    prompt to 0. `sample` counts the prompts that it cannot draw for this reason.
    """
    inverse = 1.0 / value
    return pl.when(inverse.is_finite()).then(inverse)
