"""Reads the tables of an iteration as they are on disk, and says how each file differs from the manifest."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from eva_data.dataset.manifest import FileEntry
from eva_data.dataset.ordered import height_of, in_order
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import sha256, write_shards
from eva_data.tables.ranges import pieces_of
from eva_data.tables.schemas import TABLES

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError, ValueError)
"""Exceptions of reading a file that is not parquet or is cut off. Polars panics on some such files."""


@dataclass(frozen=True)
class Found:
    """The tables of an iteration, and the errors in their files."""

    tables: Mapping[str, pl.LazyFrame]
    """Name -> table, for every table that can be read. It is scanned."""
    problems: tuple[str, ...]
    """One sentence per file."""


def read_as_written(store: Store, iteration: int) -> Found:
    """The tables of an iteration at the store's revision. Every file is hashed anew."""
    tables: dict[str, pl.LazyFrame] = {}
    problems: list[str] = []
    as_it_is = replace(store, checks=False)
    for name, schema in TABLES.items():
        files = {path: entry for path, entry in store.manifest(iteration).files.items() if path.startswith(f"{name}/")}
        try:
            table = as_it_is.scan(name, iteration).select(schema.names())
            for path in files:
                _read(store.folder / path)
        except UNREADABLE as error:
            first = str(error).strip().partition("\n")[0]
            problems += [
                f"{path} cannot be read as a table ({first}): {store.remedy(path, iteration)}"
                for path in files
                if not _readable(store.folder / path)
            ] or [f"{name} cannot be read as a table ({first})"]
            continue
        except DataError as error:
            problems.append(str(error))
            continue
        tables[name] = table
        problems += _changed(store, name, table, files)
    return Found(tables, tuple(problems))


def _readable(path: Path) -> bool:
    try:
        _read(path)
    except UNREADABLE:
        return False
    return True


def _read(path: Path) -> None:
    """Read all of a file, a bounded piece at a time."""
    for piece in pieces_of(path):
        pl.scan_parquet(path, glob=False).slice(*piece).collect()


def _changed(store: Store, name: str, table: pl.LazyFrame, files: Mapping[str, FileEntry]) -> list[str]:
    other = [path for path, entry in files.items() if sha256(store.folder / path) != entry.sha256]
    if other and _written_again(name, table, list(files.values())) == [entry.sha256 for entry in files.values()]:
        columns = [pq.read_schema(store.folder / path).names for path in other]
        known = [column for column in TABLES[name] if column in columns[0]]
        moved = "rows" if all(each == known for each in columns) else "columns"
        return [f"{path}: the {moved} are in another order; their content is the same" for path in other]
    problems = [
        f"{path}: its SHA-256 is not the one in the manifest, so it was changed after the build" for path in other
    ]
    for path, entry in files.items():
        rows, size = pq.read_metadata(store.folder / path).num_rows, (store.folder / path).stat().st_size
        if path not in other and (rows, size) != (entry.rows, entry.bytes):
            said = f"{entry.rows} rows and {entry.bytes} bytes"
            problems.append(f"{path}: the manifest says {said}, and it has {rows} and {size}")
    return problems


def _written_again(name: str, table: pl.LazyFrame, entries: list[FileEntry]) -> list[str]:
    """The hashes of this table's files if it is written again, in canonical order and with the same rows per file."""
    if sum(entry.rows for entry in entries) != height_of(table):
        return []
    parts = _Parts(part.to_arrow() for part in in_order(table, name))
    hashes = []
    with tempfile.TemporaryDirectory() as folder:
        for entry in entries:
            (path,) = write_shards(Path(folder) / "again.parquet", parts.take(entry.rows), sys.maxsize)
            hashes.append(sha256(path))
    return hashes


class _Parts:
    """A table in parts, of which any number of rows can be taken."""

    def __init__(self, parts: Iterator[pa.Table]) -> None:
        self._parts, self._left = parts, None

    def take(self, rows: int) -> Iterator[pa.Table]:
        """The next rows, in one or more parts."""
        while rows > 0:
            part: pa.Table = next(self._parts) if self._left is None else self._left
            self._left = part.slice(rows) if part.num_rows > rows else None
            yield part.slice(0, rows)
            rows -= part.num_rows
