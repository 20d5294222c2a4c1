"""Ranges of ids, by which a table of any size is worked on one bounded piece at a time, with the same result.

Ids are content hashes (`ids`), so equal ranges of ids hold about equal shares of the rows. In a file in canonical
order a range is one run of rows, and a scan skips the row groups outside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

_HEX_DIGITS = 8


@dataclass(frozen=True)
class IdRange:
    """The ids from `first` up to, but without, `end`, as strings; None means no bound on that side."""

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
    """`parts` ranges in ascending order. Every string lies in exactly one; hexadecimal ids are spread evenly.

    If a function's result for a prompt depends on the rows of that prompt alone, it gives the same result range by
    range as at once. `estimate.informativeness` and `pair.pair` are such functions. Tables in canonical order that are
    concatenated in the order of the ranges are in canonical order again.
    """
    bounds = [f"{part * 16**_HEX_DIGITS // parts:0{_HEX_DIGITS}x}" for part in range(1, parts)]
    return [IdRange(first, end) for first, end in zip([None, *bounds], [*bounds, None], strict=True)]
