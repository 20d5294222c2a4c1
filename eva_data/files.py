"""Files that are either whole or not there: written beside, flushed, renamed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

ROW_GROUP_ROWS = 20_000
"""Rows per row group: what the Hub's viewer reads at once."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; renamed to it at the end, removed on an error."""
    with _temporary(path) as temporary:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A name beside `path`; what is left under it at the end is removed."""
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


def write_shards(path: Path, table: pa.Table, most_bytes: int) -> list[Path]:
    """Write a parquet file, or where it would grow beyond `most_bytes` several, and return their paths in order.

    Each is whole or not there. One is called `path`, several `<stem>-00001-of-00003.parquet` and so on; a file ends
    with the row group that takes it over `most_bytes`. With a page index and content-defined chunks, so that the
    Hub's viewer reads pages and a later upload sends only what changed.
    """
    with ExitStack() as unnamed:
        written: list[Path] = []
        start = 0
        while start < max(table.num_rows, 1):
            temporary = unnamed.enter_context(_temporary(path.with_name(f"{path.stem}-{len(written)}{path.suffix}")))
            start = _write_groups(temporary, table, start, most_bytes)
            written.append(temporary)
        paths = [path]
        if len(written) > 1:
            of = f"of-{len(written):05}{path.suffix}"
            paths = [path.with_name(f"{path.stem}-{number:05}-{of}") for number in range(1, len(written) + 1)]
        for temporary, final in zip(written, paths, strict=True):
            temporary.replace(final)
    return paths


def _write_groups(path: Path, table: pa.Table, start: int, most_bytes: int) -> int:
    """Write row groups from row `start` on until the file is large enough, and return the first row left."""
    sink = _Spool()
    with path.open("wb") as file:
        # Arrow ends the whole process where a write fails (a full disk) under content-defined chunking, so it
        # writes to memory, a row group at a time, and the disk's errors are raised here.
        with pq.ParquetWriter(
            sink, table.schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
        ) as writer:
            while start < table.num_rows:
                writer.write_table(table.slice(start, ROW_GROUP_ROWS))
                start += ROW_GROUP_ROWS
                file.writelines(sink.taken())
                if sink.tell() >= most_bytes:
                    break
        file.writelines(sink.taken())
        file.flush()
        os.fsync(file.fileno())
    return start if table.num_rows else 1


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Spool(io.RawIOBase):
    """A file that keeps what is written until it is taken, and knows its position all the same."""

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
