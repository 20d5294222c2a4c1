"""Decides by a hash which of two responses is shown first, so that neither the reward nor a reviewer has influence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import polars as pl

from eva_data.dataset.ordered import by_themselves
from eva_data.tables.ids import uniform_draw

SLOT_ORDERS = ("chosen_first", "rejected_first")
"""Which response of a pair is shown first."""


def blind_order(seed: int) -> pl.Expr:
    """One of SLOT_ORDERS for every `pair_id`; each order has half of the pairs. `seed` is the dataset's seed."""
    draw = uniform_draw(pl.col("pair_id"), seed=seed, stage="blind", iteration=0)
    return pl.when(draw < 0.5).then(pl.lit(SLOT_ORDERS[0])).otherwise(pl.lit(SLOT_ORDERS[1]))


def sides(order: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The indices of the responses that are shown first and second."""
    chosen_first = order == SLOT_ORDERS[0]
    first = pl.when(chosen_first).then("chosen_idx").otherwise("rejected_idx")
    second = pl.when(chosen_first).then("rejected_idx").otherwise("chosen_idx")
    return first, second


def preferred() -> pl.Expr:
    """The index, `first_idx` or `second_idx`, that `verdict` means; null if it prefers neither."""
    return (
        pl.when(pl.col("verdict") == "first").then("first_idx").when(pl.col("verdict") == "second").then("second_idx")
    )


Order: TypeAlias = Literal["informativeness", "gap", "random", "rejects"]


def choose(pairs: Iterable[pl.DataFrame], order: Order, limit: int, *, metric: str, seed: int) -> pl.DataFrame:
    """At most `limit` rows of the tables `pairs`, one or more, in the order in which reviewers see them.

    `informativeness`, and `rejects` for pairs that the build rejected: the largest `metric` goes first. `gap`: the
    smallest difference of the scores goes first, where the reward is least sure. `random`: by keyed hash, so that a
    larger limit only adds pairs. Ties are in the order of the hash. One table and the rows chosen so far are in memory.
    """
    by_lot = uniform_draw(pl.col("pair_id"), seed=seed, stage="review", iteration=0)
    first = {
        "informativeness": pl.when(pl.col(metric).is_finite()).then(-pl.col(metric)),
        "rejects": pl.when(pl.col(metric).is_finite()).then(-pl.col(metric)),
        "gap": pl.col("score_chosen") - pl.col("score_rejected"),
        "random": by_lot,
    }
    chosen: pl.DataFrame | None = None
    for part in pairs:
        known = part if chosen is None else pl.concat([chosen, part])
        chosen = by_themselves(known.sort(first[order], by_lot, "pair_id", nulls_last=True).head(limit))
    assert chosen is not None
    return chosen
