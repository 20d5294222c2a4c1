"""Which pairs of an iteration people should see first."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import polars as pl

from eva_data.identify import uniform_draw

Order: TypeAlias = Literal["informativeness", "gap", "random", "rejects"]
ORDERS: tuple[Order, ...] = get_args(Order)


def choose(
    pairs: pl.DataFrame, spare: pl.DataFrame, order: Order, limit: int, *, metric: str, seed: int
) -> pl.DataFrame:
    """At most `limit` rows of `pairs`, the first to be seen first.

    `informativeness`: the largest `metric` first. `gap`: the smallest difference of the scores first, where the reward
    is least sure. `random`: by keyed hash, so that a larger limit adds to a smaller one. `rejects`: of `spare` instead,
    the pairs that the build rejected, the largest `metric` first. Equal ones are in the order of that hash.
    """
    by_lot = uniform_draw(pl.col("pair_id"), seed=seed, stage="review", iteration=0)
    first = {
        "informativeness": pl.when(pl.col(metric).is_finite()).then(-pl.col(metric)),
        "rejects": pl.when(pl.col(metric).is_finite()).then(-pl.col(metric)),
        "gap": pl.col("score_chosen") - pl.col("score_rejected"),
        "random": by_lot,
    }
    table = spare if order == "rejects" else pairs
    return table.sort(first[order], by_lot, "pair_id", nulls_last=True).head(limit)
