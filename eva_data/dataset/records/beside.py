"""Files that lie beside the iterations, named by a record of their own, which is written before they take their places.

A new file waits in `.eva` until the record that names it is written. After a kill, the next reader moves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from eva_data.dataset.manifest import LONGEST_PLACE, FileEntry, Record, format_of, refuse_ambiguous
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import sha256, write_parquet
from eva_data.tables.reading.unpacked import parquet_bytes
from eva_data.tables.schemas import check

R = TypeVar("R", bound=Record)


def parse_beside(content: bytes, name: str, kind: type[R], newest: int, what: str, remedy: str) -> R:
    """The record of this kind in `content`, which a stranger may have written.

    Raise DataError if there is none, or if its `format` is above `newest`. `what` names the record in the message.
    """
    try:
        record = kind.model_validate_json(content)
        refuse_ambiguous(content)
    except DataError as error:
        raise DataError(f"{name} is no {what} ({error}): {remedy}") from None
    except ValidationError as error:
        _refuse_newer(name, format_of(content), newest)
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:LONGEST_PLACE] or "the whole"
        raise DataError(f"{name} is no {what} (`{place}`: {first['msg']}): {remedy}") from None
    _refuse_newer(name, format_of(content), newest)
    return record


def _refuse_newer(name: str, found: int | None, newest: int) -> None:
    if found is not None and found > newest:
        raise DataError(f"{name} was written by a newer eva-data (format {found}): update eva-data")


def write_waiting(store: Store, name: str, table: pl.DataFrame) -> FileEntry:
    """Write a table to where it waits, and return what the record says about it."""
    waiting = store.state / name
    digest = write_parquet(waiting, table.to_arrow())
    return FileEntry(sha256=digest, rows=table.height, bytes=waiting.stat().st_size)


def settle(store: Store, files: Mapping[str, FileEntry]) -> None:
    """Move the waiting files that a record names to their places."""
    for name, entry in files.items():
        waiting = store.state / name
        if waiting.is_file() and sha256(waiting) == entry.sha256:
            (store.folder / name).parent.mkdir(exist_ok=True)
            waiting.replace(store.folder / name)


def read_settled(store: Store, files: Mapping[str, FileEntry], schema: pl.Schema, remedy: str) -> list[pl.DataFrame]:
    """The tables of a record. Raise DataError, with `remedy` in its message, if a file is missing or differs."""
    settle(store, files)
    tables = []
    for name, entry in files.items():
        path: Path = store.folder / name
        if not path.is_file() or sha256(path) != entry.sha256:
            raise DataError(f"{path} is not the file that its record names, by its SHA-256: {remedy}")
        tables.append(_rows_of(path, name, entry, schema, remedy))
    return tables


def _rows_of(path: Path, name: str, entry: FileEntry, schema: pl.Schema, remedy: str) -> pl.DataFrame:
    """The table of a file. Raise DataError if it is no such table or has another number of rows than its entry."""
    try:
        # A small file may claim to hold a thousand million rows.
        rows = pq.read_metadata(path).num_rows
        if rows != entry.rows:
            raise DataError(f"{name} has {rows} rows, and its record claims {entry.rows}: restore the record")
        parquet_bytes(path)
        table = pl.read_parquet(path, glob=False)
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{name} cannot be read as a table ({reason}): {remedy}") from None
    check(table, schema, name)
    return table
