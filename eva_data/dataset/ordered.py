"""Brings a table of any size into its canonical order, a bounded part at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import polars as pl

from eva_data.tables.ranges import ranges_for
from eva_data.tables.redaction import without_secrets
from eva_data.tables.schemas import LATER, ORDER, TABLES, check

SORTED_ROWS = 60_000
"""Rows that are sorted together. Until they are written, there are a few copies of them."""

_IDS = ("prompt_id", "chain_id", "pair_id")
"""Columns of ids, which are content hashes. Each table is ordered by one of them, after columns of few values."""

Table: TypeAlias = pl.DataFrame | pl.LazyFrame
"""A table in memory, or one that is scanned."""


def in_order(table: pl.LazyFrame, name: str, *, at_once: int = SORTED_ROWS) -> Iterator[pl.DataFrame]:
    """The table's rows in canonical order, without the values of secrets, in parts of about `at_once` rows.

    A part may be without rows, and the only part of an empty table is. Rows of equal keys stay in the order of the
    table. Raise DataError if a column is missing, unknown or of another type.
    """
    check(table, TABLES[name], name)
    return _in_order(table, name, at_once)


def id_of(name: str) -> str:
    """The column of a table by whose ids it can be parted."""
    return next(column for column in ORDER[name] if column in _IDS)


def in_memory(table: Table) -> pl.DataFrame:
    """All rows of a table."""
    return table.lazy().collect(engine="streaming")


def by_themselves(few: pl.DataFrame) -> pl.DataFrame:
    """A copy of a few rows of a table. Polars keeps all texts of a table in memory as long as a row of it is there."""
    copied = pl.from_arrow(few.to_arrow())
    assert isinstance(copied, pl.DataFrame)
    return copied.cast(few.schema)


def height_of(table: Table) -> int:
    """The number of rows of a table."""
    return int(table.lazy().select(pl.len()).collect(engine="streaming").item())


def _in_order(table: pl.LazyFrame, name: str, at_once: int) -> Iterator[pl.DataFrame]:
    absent = unused(table, name)
    for part in _parts(table, name, at_once):
        rows = without_secrets(part.drop(absent).collect(engine="streaming"))
        yield rows.sort(ORDER[name], nulls_last=True, maintain_order=True)


def unused(table: pl.LazyFrame, name: str) -> list[str]:
    """The columns of LATER that hold only nulls. A file of the table leaves them out."""
    later = sorted(LATER.get(name, frozenset()))
    counts = table.select(pl.col(later).count()).collect(engine="streaming").row(0, named=True) if later else {}
    return [column for column in later if not counts[column]]


def _parts(table: pl.LazyFrame, name: str, at_once: int) -> Iterator[pl.LazyFrame]:
    """The table in parts of about `at_once` rows, of which each comes wholly before the next in canonical order."""
    height = height_of(table)
    if height <= at_once:
        yield table
        return
    ids = id_of(name)
    before = list(ORDER[name][: ORDER[name].index(ids)])
    if not before:
        yield from _by_id(table, ids, height, at_once)
        return
    # The order is that of the texts without secrets. Texts that differ only in a secret are one.
    found = table.group_by(before).len(name="rows").collect(engine="streaming")
    shown = without_secrets(found).select(pl.col(before).name.suffix("_shown"), number=pl.int_range(pl.len()))
    found = pl.concat([found, shown], how="horizontal").sort(
        [f"{column}_shown" for column in before], nulls_last=True, maintain_order=True
    )
    groups = found.group_by([f"{column}_shown" for column in before], maintain_order=True)
    pending: list[pl.DataFrame] = []
    rows = 0
    for _, group in groups:
        more = int(group["rows"].sum())
        if pending and rows + more > at_once:
            yield from _by_id(_among(table, pending, before), ids, rows, at_once)
            pending, rows = [], 0
        pending.append(group)
        rows += more
    yield from _by_id(_among(table, pending, before), ids, rows, at_once)


def _among(table: pl.LazyFrame, groups: list[pl.DataFrame], before: list[str]) -> pl.LazyFrame:
    """The rows whose first columns are those of one of the groups."""
    wanted = pl.concat(groups).select(before)
    return table.join(wanted.lazy(), on=before, how="semi", nulls_equal=True, maintain_order="left")


def _by_id(table: pl.LazyFrame, ids: str, rows: int, at_once: int) -> Iterator[pl.LazyFrame]:
    for part in ranges_for(rows, at_once):
        yield part.with_nulls(table, ids)
