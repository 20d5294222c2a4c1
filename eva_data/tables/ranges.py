"""Ranges of ids: a table of any size, one bounded piece at a time, with the same result.

Ids are content hashes (identify), so equal ranges of ids hold equal shares of the rows. In a file in
canonical order a range is one run of rows, and a scan skips the row groups outside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

_HEX_DIGITS = 8


@dataclass(frozen=True)
class IdRange:
    """The ids from `first` to before `end`, as strings; None has no bound."""

    first: str | None
    end: str | None

    def of(self, table: pl.LazyFrame, column: str = "prompt_id") -> pl.LazyFrame:
        """The rows of `table` whose `column` lies in this range."""
        if self.first is not None:
            table = table.filter(pl.col(column) >= self.first)
        if self.end is not None:
            table = table.filter(pl.col(column) < self.end)
        return table


def id_ranges(parts: int) -> list[IdRange]:
    """`parts` ranges in ascending order, in one of which every string lies, hexadecimal ids evenly.

    A function whose result for a prompt depends on that prompt's rows alone gives, range by range, what it
    gives at once: `estimate.informativeness` and `pair.pair` do. Tables in canonical order put together in
    the order of the ranges are in canonical order.
    """
    bounds = [f"{part * 16**_HEX_DIGITS // parts:0{_HEX_DIGITS}x}" for part in range(1, parts)]
    return [IdRange(first, end) for first, end in zip([None, *bounds], [*bounds, None], strict=True)]
