"""Files that lie beside the iterations, named by a record of their own, which is written before they take their places.

A new file waits in `.eva` until the record that names it is written. After a kill, the next reader moves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from eva_data.dataset.manifest import FileEntry
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import sha256, write_parquet
from eva_data.tables.schemas import check


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
        table = pl.read_parquet(path, glob=False)
        check(table, schema, name)
        tables.append(table)
    return tables
