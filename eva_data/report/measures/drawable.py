"""Which prompts of X_{t-1} could be drawn, and why the others could not."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eva_data.dataset.store import Store
from eva_data.tables.reasons import MAX_DEPTH, NO_CONSENSUS, TOO_EASY, TOO_HARD, UNSOLVED

BARRED = (UNSOLVED, NO_CONSENSUS, TOO_EASY, TOO_HARD, MAX_DEPTH)
"""The reasons that bar a prompt from the draw, whatever its metric."""

DRAWABLE = pl.Schema(
    {
        "iteration": pl.Int32,
        "prompts": pl.Int64,  # of X_{t-1}, estimated; online the prompts of the training
        "drawn": pl.Int64,  # null online, where the buffer draws
        **dict.fromkeys(BARRED, pl.Int64),
    }
)


def drawable(store: Store, iterations: Sequence[int]) -> pl.DataFrame:
    """DRAWABLE: one row per iteration whose prompts were estimated, or in which a prompt was barred."""
    counts = {reason: (pl.col("reason") == reason).sum() for reason in BARRED}
    rows = [
        store.scan("informativeness", iteration)
        .group_by("stage")
        .agg(prompts=pl.len(), drawn=pl.when(pl.col("selected").count() > 0).then(pl.col("selected").sum()), **counts)
        .filter((pl.col("stage") == "estimate") | pl.any_horizontal(pl.col(reason) > 0 for reason in BARRED))
        .with_columns(iteration=pl.lit(iteration))
        .select(pl.col(name).cast(dtype) for name, dtype in DRAWABLE.items())
        .collect(engine="streaming")
        for iteration in iterations
    ]
    return pl.concat(rows or [pl.DataFrame(schema=DRAWABLE)]).sort("iteration")
