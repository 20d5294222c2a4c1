"""Which of two responses is shown first: by a hash, so that neither the reward nor the reviewer has a hand in it."""

from __future__ import annotations

import polars as pl

from eva_data.identify import uniform_draw

ORDERS = ("chosen_first", "rejected_first")


def blind_order(seed: int) -> pl.Expr:
    """One of ORDERS for every `pair_id`, each in half of them; `seed` is the dataset's."""
    draw = uniform_draw(pl.col("pair_id"), seed=seed, stage="blind", iteration=0)
    return pl.when(draw < 0.5).then(pl.lit(ORDERS[0])).otherwise(pl.lit(ORDERS[1]))


def sides(order: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The indices of the responses that are shown first and second in that order."""
    chosen_first = order == ORDERS[0]
    first = pl.when(chosen_first).then("chosen_idx").otherwise("rejected_idx")
    second = pl.when(chosen_first).then("rejected_idx").otherwise("chosen_idx")
    return first, second


def preferred() -> pl.Expr:
    """The index that `verdict` means, of `first_idx` and `second_idx`; null where it prefers neither."""
    return (
        pl.when(pl.col("verdict") == "first").then("first_idx").when(pl.col("verdict") == "second").then("second_idx")
    )
