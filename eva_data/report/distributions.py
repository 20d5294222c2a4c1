"""The numbers of the plots: any number of values, counted in a few dozen bins in polars."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.numbers import sample_of

BINS = 40
TAIL = 0.99
"""If values reach far beyond this quantile, the axis ends there, and the last bin holds the rest."""
FAR = 2.0

QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}

SHIFT = pl.Schema(
    {
        "what": pl.String,  # reward_gap | prompt_characters | chosen_characters | rejected_characters
        "iteration": pl.Int32,
        "count": pl.Int64,
        "mean": pl.Float64,
        **dict.fromkeys(QUANTILES, pl.Float64),
    }
)


@dataclass(frozen=True)
class Axis:
    """Equal bins from `low` to `high`. The first and the last bin also hold the values outside."""

    low: float
    high: float
    bins: int = BINS
    cut: bool = False
    """Whether there are values above `high`."""

    @property
    def edges(self) -> list[float]:
        return [self.low + (self.high - self.low) * (place / self.bins) for place in range(self.bins + 1)]

    def bin(self, value: pl.Expr) -> pl.Expr:
        """The number of the bin of a finite value."""
        place = (value - self.low) / (self.high - self.low) * self.bins
        return place.floor().clip(0, self.bins - 1).cast(pl.Int32)


def axis_of(values: pl.LazyFrame, column: str, bins: int = BINS) -> Axis | None:
    """The axis for the finite values of a column. None without such values, or if they are too large to plot."""
    value = pl.col(column)
    low, tail, high = (
        values.filter(value.is_finite())
        .select(low=value.min(), tail=value.quantile(TAIL), high=value.max())
        .collect(engine="streaming")
        .row(0)
    )
    if low is None:
        return None
    if low == high:
        aside = max(0.5, abs(low) / 4)
        low, tail, high, bins = low - aside, low, low + aside, 1
    if not math.isfinite(high - low):
        return None
    cut = bins > 1 and tail > low and high - low > FAR * (tail - low)
    return Axis(low, tail if cut else high, bins, cut)


def histogram(values: pl.LazyFrame, column: str, by: str, axis: Axis) -> pl.DataFrame:
    """The number of finite values in each `bin` of each group `by`. Empty bins are left out."""
    return (
        values.filter(pl.col(column).is_finite())
        .group_by(by, axis.bin(pl.col(column)).alias("bin"))
        .agg(count=pl.len().cast(pl.Int64))
        .sort(by, "bin")
        .collect(engine="streaming")
    )


def grid(values: pl.LazyFrame, x: str, y: str, axes: tuple[Axis, Axis]) -> pl.DataFrame:
    """The number of rows with two finite values in each pair of bins `x`, `y`. Empty pairs are left out."""
    return (
        _both(values, x, y)
        .select(axes[0].bin(pl.col(x)).alias(x), axes[1].bin(pl.col(y)).alias(y))
        .group_by(x, y)
        .agg(count=pl.len().cast(pl.Int64))
        .sort(x, y)
        .collect(engine="streaming")
    )


def correlations(values: pl.LazyFrame, x: str, y: str) -> tuple[int, float | None, float | None]:
    """The number of rows with two finite values, with Pearson's and Spearman's correlation. Null for a constant."""
    found = _both(values, x, y).select(
        rows=pl.len(),
        pearson=pl.corr(x, y).fill_nan(None),
        spearman=pl.corr(pl.col(x).rank(), pl.col(y).rank()).fill_nan(None),
    )
    rows, pearson, spearman = found.collect().row(0)
    return rows, pearson, spearman


def shift(store: Store, iterations: Sequence[int]) -> pl.DataFrame:
    """SHIFT: lengths of prompts and answers and reward gaps, per iteration.

    Lengths are in characters of the last turn, over a sample of the texts (`report.READ_PROMPTS`).
    """
    rows = []
    for iteration in iterations:
        part = sample_of(store, iteration)
        pairs = store.scan("preferences", iteration)
        rows += [
            _spread("reward_gap", iteration, pairs, pl.col("score_chosen") - pl.col("score_rejected")),
            _spread("prompt_characters", iteration, part.of(store.scan("prompts", iteration)), _length("prompt")),
            *(
                _spread(f"{side}_characters", iteration, part.of(pairs), _length(side))
                for side in ("chosen", "rejected")
            ),
        ]
    return pl.concat(rows or [pl.DataFrame(schema=SHIFT)]).sort("what", "iteration")


def _both(values: pl.LazyFrame, x: str, y: str) -> pl.LazyFrame:
    return values.select(x, y).filter(pl.col(x).is_finite() & pl.col(y).is_finite())


def _length(column: str) -> pl.Expr:
    return pl.col(column).list.last().struct.field("content").str.len_chars()


def _spread(what: str, iteration: int, table: pl.LazyFrame, value: pl.Expr) -> pl.DataFrame:
    return (
        table.select(value=value.cast(pl.Float64))
        .select(
            what=pl.lit(what),
            iteration=pl.lit(iteration, pl.Int32),
            count=pl.col("value").count().cast(pl.Int64),
            mean=pl.col("value").mean(),
            **{name: pl.col("value").quantile(share, "linear") for name, share in QUANTILES.items()},
        )
        .collect(engine="streaming")
    )
