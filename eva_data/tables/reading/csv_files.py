"""Reads CSV, TSV and plain lines as lazy tables in which every column is text."""

from __future__ import annotations

import atexit
import csv
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from eva_data.errors import DataError
from eva_data.tables.reading.encodings import encoding_of, is_plain, open_text
from eva_data.tables.reading.text_files import PROMPT, Read, batched, encoding_note, lines_of, stamp
from eva_data.tables.reading.unpacked import LONGEST_ROW


def read_lines(files: tuple[Path, ...], asked: str | None, key: str) -> Read:
    """One row per line; the line is the prompt. A line without characters is an empty prompt."""
    encodings = tuple(encoding_of(file, asked, key) for file in files)
    for file, encoding in zip(files, encodings, strict=True):
        with open_text(file, encoding, key) as text:
            for _ in lines_of(text, f"`{key}`: {file}"):
                pass

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for file, encoding in zip(files, encodings, strict=True):
            with open_text(file, encoding, key) as text:
                for lines in batched(line.rstrip("\r\n") for line in lines_of(text, f"`{key}`: {file}")):
                    if left is not None:
                        lines, left = lines[:left], left - len(lines[:left])
                    frame = pl.DataFrame({PROMPT: lines}, schema={PROMPT: pl.String})
                    yield frame if predicate is None else frame.filter(predicate)
                    if left == 0:
                        return

    notes = [note for pair in zip(files, encodings, strict=True) for note in encoding_note(*pair)]

    def pieces() -> Iterator[pl.LazyFrame]:
        return (batch.lazy() for batch in batches(None, None, None, None))

    return Read(register_io_source(batches, schema={PROMPT: pl.String}), tuple(notes), pieces=pieces)


def read_csv(file: Path, separator: str, asked: str | None, key: str) -> Read:
    """Rows of text under the names in the first line. An empty field is null; an empty quoted field is empty text."""
    encoding = encoding_of(file, asked, key)
    names, separator, end, notes = _header(file, encoding, separator, key)
    _check_rows(file, stamp(file), encoding, separator, key)
    plain = file if is_plain(file, encoding) else _transcoded(file, stamp(file), encoding, key)
    frame = pl.scan_csv(plain, separator=separator, eol_char=end, infer_schema=False, glob=False)
    # Blanks after the commas of the first line do not belong to the names.
    plain_names = {name: name.strip() for name in frame.collect_schema()}
    if len(set(plain_names.values())) == len(plain_names):
        frame = frame.rename(plain_names)
    twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    return Read(frame, (*notes, *encoding_note(file, encoding)), twice)


def _header(file: Path, encoding: str, separator: str, key: str) -> tuple[list[str], str, str, tuple[str, ...]]:
    """The names of the columns, the separator and the line end of a file, and notes on them for the user."""
    with open_text(file, encoding, key) as text:
        first = next(lines_of(text, f"`{key}`: {file}"), "")
    if not first.strip("\r\n\ufeff "):
        raise DataError(f"`{key}`: {file} begins with an empty line: expected the names of its columns there")
    notes: tuple[str, ...] = ()
    if separator not in first:
        for other, word in ((";", "semicolons"), ("\t", "tabs")):
            if other in first and other != separator:
                separator, notes = other, (f"{file.name}: its columns are separated by {word}",)
                break
    names = next(csv.reader([first.strip("\r\n\ufeff")], delimiter=separator))
    return names, separator, "\r" if first.endswith("\r") else "\n", notes


@lru_cache(maxsize=1024)
def _check_rows(file: Path, _: tuple[int, int], encoding: str, separator: str, key: str) -> None:
    """Raise DataError, which names the line, if a row has more fields than there are columns or a quote has no end."""
    csv.field_size_limit(LONGEST_ROW)
    with open_text(file, encoding, key) as text:
        rows = csv.reader(lines_of(text, f"`{key}`: {file}"), delimiter=separator, strict=True)
        began, width = 1, None
        try:
            for row in rows:
                if width is None:
                    width = len(row)
                elif len(row) > width:
                    raise DataError(
                        f"`{key}`: {file}, line {began} has {len(row)} fields, but there are {width} columns: put a "
                        "field that holds the separator or a line break in double quotes"
                    )
                began = rows.line_num + 1
        except csv.Error as error:
            raise DataError(
                f"`{key}`: {file}, the row that begins in line {began} is not CSV ({error}): put a field that holds a "
                "quote in double quotes and write the quote twice"
            ) from None


@lru_cache(maxsize=1024)
def _transcoded(file: Path, _: tuple[int, int], encoding: str, key: str) -> Path:
    """A copy of the file in plain UTF-8, in a folder that is removed when this process ends."""
    path = Path(_scratch()) / f"{len(os.listdir(_scratch()))}.csv"
    with path.open("w", encoding="utf-8", newline="") as copy, open_text(file, encoding, key) as text:
        shutil.copyfileobj(text, copy, 1 << 20)
    return path


@lru_cache(maxsize=1)
def _scratch() -> str:
    folder = tempfile.mkdtemp(prefix="eva-data-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
