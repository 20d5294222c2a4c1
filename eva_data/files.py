"""Writes files that are either whole or absent: under a temporary name first, then flushed and renamed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 20_000
"""Rows per row group. The Hub's viewer reads one row group at once."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to. It is renamed to `path` at the end, and removed on an error."""
    with _temporary(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """Give a name beside `path`; a file that is left under it at the end is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def write_parquet(path: Path, table: pa.Table) -> str:
    """Write a parquet file, whole or not at all, and return its SHA-256."""
    [written] = write_shards(path, table, sys.maxsize)
    return sha256(written)


def write_shards(
    path: Path, table: pa.Table | Iterable[pa.Table], most_bytes: int, *, group_rows: int | None = None
) -> list[Path]:
    """Write a parquet file, or several if one would grow beyond `most_bytes`, and return their paths in order.

    `table` may be given in parts, at least one, of which only a few are in memory at a time. The files do not depend on
    how it is parted. Each file is whole or absent. A single file is called `path`; several are called
    `<stem>-00001-of-00003.parquet` and so on. A file ends with the row group that takes it over `most_bytes`. The files
    have a page index, so that the Hub's viewer reads pages, and content-defined chunks, so that a later upload sends
    only what changed.

    A row group has `group_rows` rows, ROW_GROUP_ROWS by default. It is in memory as a whole while it is written.
    """
    groups = _row_groups([table] if isinstance(table, pa.Table) else table, group_rows or ROW_GROUP_ROWS)
    with ExitStack() as unnamed:
        written: list[Path] = []
        group = next(groups, None)
        while group is not None:
            temporary = unnamed.enter_context(_temporary(path.with_name(f"{path.stem}-{len(written)}{path.suffix}")))
            group = _write_groups(temporary, group, groups, most_bytes)
            written.append(temporary)
        paths = [path]
        if len(written) > 1:
            of = f"of-{len(written):05}{path.suffix}"
            paths = [path.with_name(f"{path.stem}-{number:05}-{of}") for number in range(1, len(written) + 1)]
        for temporary, final in zip(written, paths, strict=True):
            temporary.replace(final)
    return paths


def _row_groups(tables: Iterable[pa.Table], group_rows: int) -> Iterator[pa.Table]:
    """The rows of these tables in row groups; one group without rows if there are none."""
    pending: list[pa.Table] = []
    rows, table, is_empty = 0, None, True
    for table in tables:
        start = 0
        is_empty = is_empty and not table.num_rows
        while rows + table.num_rows - start >= group_rows:
            needed = group_rows - rows
            yield _whole([*pending, table.slice(start, needed)])
            start += needed
            pending, rows = [], 0
        if start < table.num_rows:
            pending.append(table.slice(start))
            rows += table.num_rows - start
    if rows:
        yield _whole(pending)
    elif is_empty and table is not None:
        yield table


def _whole(parts: list[pa.Table]) -> pa.Table:
    """One table in one piece, so that a file does not tell how its rows came."""
    return parts[0] if len(parts) == 1 else pa.concat_tables(parts).combine_chunks()


def _write_groups(path: Path, group: pa.Table, others: Iterator[pa.Table], most_bytes: int) -> pa.Table | None:
    """Write row groups until the file is large enough, and return the first one that is left; None if none is left."""
    sink, left = _Spool(), group
    with path.open("wb") as file:
        # With content-defined chunking, Arrow ends the whole process if a write fails (a full disk). So it writes
        # to memory, a row group at a time, and errors of the disk are raised here.
        with pq.ParquetWriter(
            sink, group.schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
        ) as writer:
            while left is not None:
                if left.num_rows:
                    writer.write_table(left)
                left = next(others, None)
                file.writelines(sink.taken())
                if sink.tell() >= most_bytes:
                    break
        file.writelines(sink.taken())
        file.flush()
        os.fsync(file.fileno())
    return left


def lack_of_room(folder: Path, needed: int, what: str) -> str | None:
    """A sentence if the disk of a folder, which need not exist yet, has less than `needed` bytes free; else None."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if needed <= free:
        return None
    return (
        f"{what} needs {needed / 1e6:,.1f} MB in {folder}, and its disk has {free / 1e6:,.1f} MB free: make room, then "
        "repeat"
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Spool(io.RawIOBase):
    """A file in memory whose content can be taken out while it is written; its position goes on counting."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pending.append(bytes(data))
        self._position += len(data)
        return len(data)

    def tell(self) -> int:
        return self._position

    def taken(self) -> list[bytes]:
        pending, self._pending = self._pending, []
        return pending
