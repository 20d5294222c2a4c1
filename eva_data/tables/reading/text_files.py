"""What the readers of text files share: batches of rows, and notes on an encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from eva_data.errors import DataError
from eva_data.tables.reading.unpacked import LONGEST_ROW

PROMPT = "prompt"
"""The column's name for files without column names: a prompt per line, or an array of texts."""

_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Read:
    """A text file, or several of the same format, as a lazy table."""

    frame: pl.LazyFrame
    notes: tuple[str, ...]
    twice: tuple[str, ...] = ()
    """Names that several columns share."""
    pieces: Callable[[], Iterable[pl.LazyFrame]] | None = None
    """The rows in bounded pieces; None if the table can only be read as a whole."""


def stamp(file: Path) -> tuple[int, int]:
    """A file's size and time, which change with its content. Results of reading the file are remembered under them."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def lines_of(text: TextIO, name: str) -> Iterator[str]:
    """The lines of an open text. Raise DataError, with the file's name and the line, if one is too long for a row."""
    number = 1
    while line := text.readline(LONGEST_ROW):
        if len(line) == LONGEST_ROW:
            raise DataError(
                f"{name}, line {number} has more than {LONGEST_ROW:,} characters: expected a row a line; split it, or "
                "take it out"
            )
        yield line
        number += 1


def batched(rows: Iterator[Any]) -> Iterator[list[Any]]:
    """Rows in lists of at most the number that memory holds at once."""
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def encoding_note(file: Path, encoding: str) -> list[str]:
    """What the user should know about an encoding other than UTF-8; empty for UTF-8."""
    if encoding in ("utf-8", "utf-8-sig"):
        return []
    return [f"{file.name} is read as {encoding.upper()} text"]
