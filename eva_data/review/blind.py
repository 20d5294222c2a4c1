"""Which of two responses is shown first: by a hash, so that neither the reward nor the reviewer has a hand in it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import polars as pl

from eva_data.tables.ids import uniform_draw

SLOT_ORDERS = ("chosen_first", "rejected_first")
"""Which response of a pair is shown first."""


def blind_order(seed: int) -> pl.Expr:
    """One of SLOT_ORDERS for every `pair_id`, each in half of them; `seed` is the dataset's."""
    draw = uniform_draw(pl.col("pair_id"), seed=seed, stage="blind", iteration=0)
    return pl.when(draw < 0.5).then(pl.lit(SLOT_ORDERS[0])).otherwise(pl.lit(SLOT_ORDERS[1]))


def sides(order: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The indices of the responses that are shown first and second in that order."""
    chosen_first = order == SLOT_ORDERS[0]
    first = pl.when(chosen_first).then("chosen_idx").otherwise("rejected_idx")
    second = pl.when(chosen_first).then("rejected_idx").otherwise("chosen_idx")
    return first, second


def preferred() -> pl.Expr:
    """The index that `verdict` means, of `first_idx` and `second_idx`; null where it prefers neither."""
    return (
        pl.when(pl.col("verdict") == "first").then("first_idx").when(pl.col("verdict") == "second").then("second_idx")
    )


Order: TypeAlias = Literal["informativeness", "gap", "random", "rejects"]


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
