"""Ranges of ids, by which a table of any size is worked on one bounded piece at a time, with the same result.

Ids are content hashes (`ids`), so equal ranges of ids hold about equal shares of the rows. In a file in canonical
order a range is one run of rows, and a scan skips the row groups outside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

_HEX_DIGITS = 8

PIECE_ROWS = 20_000
"""Rows of a parquet file that are read together, at least. A row group is read as a whole."""

ROWS_AT_ONCE = 120_000
"""Rows with texts that are worked on together: 20,000 prompts with six responses."""


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

    def with_nulls(self, table: pl.LazyFrame, column: str = "prompt_id") -> pl.LazyFrame:
        """The same, where the last range holds the rows without an id too."""
        if self.end is not None:
            return self.of(table, column)
        return table if self.first is None else table.filter(pl.col(column).is_null() | (pl.col(column) >= self.first))


def id_ranges(parts: int) -> list[IdRange]:
    """`parts` ranges in ascending order. Every string lies in exactly one; hexadecimal ids are spread evenly.

    If a function's result for a prompt depends on the rows of that prompt alone, it gives the same result range by
    range as at once. `estimate.informativeness` and `pair.pair` are such functions. Tables in canonical order that are
    concatenated in the order of the ranges are in canonical order again.
    """
    bounds = [f"{part * 16**_HEX_DIGITS // parts:0{_HEX_DIGITS}x}" for part in range(1, parts)]
    return [IdRange(first, end) for first, end in zip([None, *bounds], [*bounds, None], strict=True)]


def ranges_for(rows: int, at_once: int = ROWS_AT_ONCE) -> list[IdRange]:
    """As many ranges as are needed so that about `at_once` of `rows` rows lie in each; one for an empty table."""
    return id_ranges(max(1, -(-rows // at_once)))


def pieces_of(file: Path) -> tuple[tuple[int, int], ...]:
    """First row and number of rows of the pieces of a parquet file, each of whole row groups, of PIECE_ROWS or more.

    A scan of a whole file reads ahead without bound if what is done with the rows takes longer; of a slice it does not.
    """
    metadata = pq.read_metadata(file)
    pieces: list[tuple[int, int]] = []
    first = rows = 0
    for number in range(metadata.num_row_groups):
        rows += metadata.row_group(number).num_rows
        if rows >= PIECE_ROWS or number == metadata.num_row_groups - 1:
            pieces.append((first, rows))
            first, rows = first + rows, 0
    return tuple(pieces)
