"""Draw exactly k rows of a table by a key, without sorting the whole table."""

from __future__ import annotations

import math
from fractions import Fraction

import polars as pl


def share_of(share: float | Fraction, total: int) -> int:
    """`share` x `total`, rounded half up. The share is taken as a decimal number, as it prints: 0.145 of 100 is 15."""
    return math.floor(Fraction(str(share)) * total + Fraction(1, 2))


def smallest(table: pl.LazyFrame, key: pl.Expr, count: int) -> pl.Expr:
    """A condition that is true for the `count` rows of `table` with the smallest `key`, or for all rows if fewer.

    `key` is Float64 without NaN. Rows whose key is null are never taken. Among equal keys, the smaller `prompt_id` goes
    first; ids must be distinct. Only the keys are computed here. The condition compares each row with the last key
    that is taken, so a scan applies it row by row, however wide the rows are.
    """
    if count <= 0:
        return pl.lit(False)
    keys = table.select(key=key).drop_nulls().collect(engine="streaming").to_series()
    if keys.len() <= count:
        return key.is_not_null()
    last = keys.sort()[count - 1]
    tied = count - int((keys < last).sum())
    if tied == int((keys == last).sum()):
        within: pl.Expr = key <= last
        return within.fill_null(False)
    ids = table.filter(key == last).select("prompt_id").sort("prompt_id").collect(engine="streaming")
    last_id = ids.to_series()[tied - 1]
    within = (key < last) | ((key == last) & (pl.col("prompt_id") <= last_id))
    return within.fill_null(False)
