"""Replay: draw pairs of earlier iterations, on which the solver is trained again beside its own iteration's."""

from __future__ import annotations

import polars as pl

from eva_data.tables.draws import share_of
from eva_data.tables.ids import uniform_draw


def replayed(pairs: pl.LazyFrame, *, share: float, seed: int, into: int, iteration: int) -> pl.LazyFrame:
    """`pair_id` of the pairs of one earlier `iteration` that are trained on again in iteration `into`, ascending.

    `pairs` has a `pair_id` per row. `share` of them is drawn, rounded half up. The draw of a pair depends on the seed,
    the two iterations and its id, so another order of the rows draws the same pairs, and each theta draws anew.
    """
    draw = uniform_draw(pl.col("pair_id"), seed=seed, stage=f"replay{iteration}", iteration=into)
    count = share_of(share, pairs.select(pl.len()).collect().item())
    return pairs.select("pair_id", draw=draw).sort("draw", "pair_id").head(count).select("pair_id").sort("pair_id")
