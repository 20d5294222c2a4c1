"""The yield of strategies and depths of evolving, counted from the tables, one iteration at a time."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eva_data.dataset.store import Store
from eva_data.tables.reasons import NOT_BEST

STRATEGIES = pl.Schema(
    {
        "iteration": pl.Int32,
        "mutation": pl.String,
        "attempts": pl.Int64,
        "eliminated": pl.Int64,  # of the attempts
        "lost": pl.Int64,  # to a better candidate of the same step
        "mixed": pl.Int64,  # in X_t
        "measured": pl.Int64,  # of these, with a defined metric
        "mean": pl.Float64,  # of the metric; null without any
        "pairs": pl.Int64,
    }
)

DEPTHS = pl.Schema(
    {
        "iteration": pl.Int32,
        "depth": pl.Int32,
        "prompts": pl.Int64,
        "measured": pl.Int64,
        "mean": pl.Float64,
        "pairs": pl.Int64,
    }
)


def strategies(store: Store, iterations: Sequence[int], metric: str) -> pl.DataFrame:
    """STRATEGIES: one row per iteration and tried strategy. `metric` names a column."""
    found = []
    for iteration in iterations:
        status, reason = pl.col("status"), pl.col("reason")
        tried = (
            store.scan("evolutions", iteration)
            .filter(pl.col("mutation").is_not_null())
            .group_by("mutation")
            .agg(
                attempts=pl.len(),
                eliminated=(status == "eliminated").sum(),
                lost=reason.eq_missing(NOT_BEST).sum(),
                mixed=(status == "mixed").sum(),
            )
        )
        evolved = _gained(store, iteration, "mutation", metric, pl.col("mix_role") == "evolved")
        found.append(_columns(tried.join(evolved, on="mutation", how="left"), iteration, STRATEGIES))
    return pl.concat([pl.DataFrame(schema=STRATEGIES), *found]).sort("iteration", "mutation")


def depths(store: Store, iterations: Sequence[int], metric: str) -> pl.DataFrame:
    """DEPTHS: one row per iteration and depth of the prompts of X_t."""
    found = [
        _columns(_gained(store, iteration, "depth", metric, pl.lit(True)), iteration, DEPTHS)
        for iteration in iterations
    ]
    return pl.concat([pl.DataFrame(schema=DEPTHS), *found]).sort("iteration", "depth")


def _gained(store: Store, iteration: int, by: str, metric: str, which: pl.Expr) -> pl.LazyFrame:
    """Per value of `by`: prompts of X_t, measured prompts, the mean metric, and pairs."""
    measured = store.scan("informativeness", iteration).filter(pl.col("stage") == "respond")
    paired = store.scan("preferences", iteration).group_by("prompt_id").agg(paired=pl.len())
    return (
        store.scan("prompts", iteration)
        .filter(which)
        .select("prompt_id", by)
        .join(measured.select("prompt_id", value=pl.col(metric)), on="prompt_id", how="left")
        .join(paired, on="prompt_id", how="left")
        .group_by(by)
        .agg(
            prompts=pl.len(),
            measured=pl.col("value").count(),
            mean=pl.col("value").mean(),
            pairs=pl.col("paired").sum(),
        )
    )


def _columns(rows: pl.LazyFrame, iteration: int, schema: pl.Schema) -> pl.DataFrame:
    counted = ("measured", "pairs")
    return (
        rows.with_columns(pl.lit(iteration).alias("iteration"), pl.col(counted).fill_null(0))
        .select(pl.col(name).cast(dtype) for name, dtype in schema.items())
        .collect(engine="streaming")
    )
