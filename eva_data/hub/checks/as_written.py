"""Reads the tables of an iteration as they are on disk, and says how each file differs from the manifest."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from eva_data.dataset.manifest import FileEntry
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import sha256, write_shards
from eva_data.tables.schemas import ORDER, TABLES, table_to_write

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException, OSError, ValueError)
"""Exceptions of reading a file that is not parquet or is cut off. Polars panics on some such files."""


@dataclass(frozen=True)
class Found:
    """The tables of an iteration, and the errors in their files."""

    tables: Mapping[str, pl.DataFrame]
    """Name -> table, for every table that can be read."""
    problems: tuple[str, ...]
    """One sentence per file."""


def read_as_written(store: Store, iteration: int) -> Found:
    """The tables of an iteration at the store's revision. Every file is hashed anew."""
    tables: dict[str, pl.DataFrame] = {}
    problems: list[str] = []
    as_it_is = replace(store, checks=False)
    for name, schema in TABLES.items():
        files = {path: entry for path, entry in store.manifest(iteration).files.items() if path.startswith(f"{name}/")}
        try:
            tables[name] = as_it_is.scan(name, iteration).select(schema.names()).collect()
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
        problems += _changed(store, name, tables[name], files)
    return Found(tables, tuple(problems))


def _readable(path: Path) -> bool:
    try:
        pl.read_parquet(path)
    except UNREADABLE:
        return False
    return True


def _changed(store: Store, name: str, table: pl.DataFrame, files: Mapping[str, FileEntry]) -> list[str]:
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


def _written_again(name: str, table: pl.DataFrame, entries: list[FileEntry]) -> list[str]:
    """The hashes of this table's files if it is written again, in canonical order and with the same rows per file."""
    rows = table_to_write(table, name).sort(ORDER[name], nulls_last=True, maintain_order=True).to_arrow()
    hashes, start = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for number, entry in enumerate(entries):
            shard = rows.slice(start, entry.rows)
            (path,) = write_shards(Path(folder) / f"{number}.parquet", shard, sys.maxsize)
            hashes.append(sha256(path))
            start += entry.rows
    return hashes if start == rows.num_rows else []
