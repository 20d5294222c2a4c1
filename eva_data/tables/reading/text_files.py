"""JSON, CSV and plain text as lazy tables in which text is text.

A file is gone through twice: once to learn its columns and to find what is wrong with it, by row; once, a batch of
rows at a time, for whoever collects the table. No more than a batch is held.
"""

from __future__ import annotations

import atexit
import csv
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from eva_data.errors import DataError
from eva_data.tables.reading.encodings import encoding_of, is_plain, open_text
from eva_data.tables.reading.json_values import Values
from eva_data.tables.reading.kinds import MOST_KEYS, Kind

PROMPT = "prompt"
"""The column of files that have no names for theirs: a prompt per line, or an array of texts."""

_TURN = {"role", "from"}
"""Keys of a turn: a list of these is one conversation, not the rows of a table."""

_BATCH_ROWS = 10_000


@dataclass(frozen=True)
class Read:
    """A text file, or several of the same format, as a lazy table."""

    frame: pl.LazyFrame
    notes: tuple[str, ...]
    twice: tuple[str, ...] = ()
    """Names that more than one column has."""


def read_json(files: tuple[Path, ...], asked: str | None, key: str) -> Read:
    """Objects, one per row, from JSON arrays, lines, or one array inside an object."""
    encodings = tuple(encoding_of(file, asked, key) for file in files)
    kind = Kind()
    notes = []
    for file, encoding in zip(files, encodings, strict=True):
        one, mended = _survey(file, _stamp(file), encoding, key)
        for row_kind in one:
            _join(kind, row_kind)
        if mended:
            notes.append(f"{file.name}: half a surrogate pair became U+FFFD in {mended} rows")
        notes += _encoding_note(file, encoding)
    columns = {name: inner.column() for name, inner in (kind.fields or {}).items()}
    if len(columns) > MOST_KEYS:
        raise DataError(
            f"`{key}`: {files[0]} has more than {MOST_KEYS} different keys in its rows: give every row the same few"
        )
    schema = pl.from_arrow(pa.schema([(name, dtype) for name, (dtype, _) in columns.items()]).empty_table()).schema  # type: ignore[union-attr]

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        wanted = list(schema) if with_columns is None else with_columns
        left = n_rows
        for file, encoding in zip(files, encodings, strict=True):
            for rows in _batched(_rows(file, encoding, key)):
                if left is not None:
                    rows, left = rows[:left], left - len(rows[:left])
                made = {}
                for name in wanted:
                    dtype, convert = columns[name]
                    values = [row.get(name) for row in rows]
                    if convert is not None:
                        values = [convert(value) for value in values]
                    made[name] = pa.array(values, type=dtype)
                frame = pl.DataFrame(pa.table(made)) if made else pl.DataFrame(height=len(rows))
                yield frame if predicate is None else frame.filter(predicate)
                if left == 0:
                    return

    return Read(register_io_source(batches, schema=schema), tuple(notes))


def read_lines(files: tuple[Path, ...], asked: str | None, key: str) -> Read:
    """A prompt per line; a line without characters is a prompt that is empty."""
    encodings = tuple(encoding_of(file, asked, key) for file in files)
    for file, encoding in zip(files, encodings, strict=True):
        with open_text(file, encoding, key) as text:
            for _ in text:
                pass

    def batches(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, _: int | None
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        for file, encoding in zip(files, encodings, strict=True):
            with open_text(file, encoding, key) as text:
                for lines in _batched(line.rstrip("\r\n") for line in text):
                    if left is not None:
                        lines, left = lines[:left], left - len(lines[:left])
                    frame = pl.DataFrame({PROMPT: lines}, schema={PROMPT: pl.String})
                    yield frame if predicate is None else frame.filter(predicate)
                    if left == 0:
                        return

    notes = [note for pair in zip(files, encodings, strict=True) for note in _encoding_note(*pair)]
    return Read(register_io_source(batches, schema={PROMPT: pl.String}), tuple(notes))


def read_csv(file: Path, separator: str, asked: str | None, key: str) -> Read:
    """Rows of text under the names of the first line; an empty field is null, a quoted empty one is empty text."""
    encoding = encoding_of(file, asked, key)
    names, separator, end, notes = _header(file, encoding, separator, key)
    _check_rows(file, _stamp(file), encoding, separator, key)
    plain = file if is_plain(file, encoding) else _transcoded(file, _stamp(file), encoding, key)
    frame = pl.scan_csv(plain, separator=separator, eol_char=end, infer_schema=False, glob=False)
    # Blanks after the commas of the first line are no part of a name.
    plain_names = {name: name.strip() for name in frame.collect_schema()}
    if len(set(plain_names.values())) == len(plain_names):
        frame = frame.rename(plain_names)
    twice = tuple(sorted({name for name in names if names.count(name) > 1}))
    return Read(frame, (*notes, *_encoding_note(file, encoding)), twice)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=1024)
def _survey(file: Path, _: tuple[int, int], encoding: str, key: str) -> tuple[tuple[Kind, ...], int]:
    kind = Kind()
    values = None
    with open_text(file, encoding, key) as text:
        values = Values(text, f"`{key}`: {file}")
        for row in _objects(values, file, key):
            kind.see(row)
    return (kind,), values.mended


def _rows(file: Path, encoding: str, key: str) -> Iterator[dict[str, Any]]:
    with open_text(file, encoding, key) as text:
        yield from _objects(Values(text, f"`{key}`: {file}"), file, key)


def _objects(values: Values, file: Path, key: str) -> Iterator[dict[str, Any]]:
    """The rows among a file's values: objects, and texts as prompts."""
    first: dict[str, Any] | None = None
    number = 0
    for value in values:
        number += 1
        if type(value) is str:
            value = {PROMPT: value}
        elif not isinstance(value, dict):
            raise DataError(
                f"`{key}`: {file}, row {number} (line {values.line}) is {_word(value)}: expected an object such as "
                '{"prompt": "..."}, or a text'
            )
        if first is None and number == 1 and not values.in_array:
            # The only value of a file may hold the rows.
            first = value
            continue
        if first is not None:
            yield first
            first = None
        yield value
    if first is not None:
        yield from _inside(first)


def _inside(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a file that is one object.

    They are those of its only list of objects; or of its columns, each a list or, as pandas writes them, an object with
    the rows' numbers; or the object itself.
    """
    columns = list(value.values())
    if len(columns) == 1 and _is_list_of_rows(columns[0]):
        yield from columns[0]
    elif len(columns) > 1 and _are_lists(columns):
        yield from (dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True))
    elif columns and _are_numbered(columns):
        yield from ({name: column[number] for name, column in value.items()} for number in columns[0])
    else:
        yield value


def _is_list_of_rows(column: Any) -> bool:
    return (
        isinstance(column, list)
        and bool(column)
        and all(isinstance(row, dict) and not _TURN & row.keys() for row in column)
    )


def _are_lists(columns: list[Any]) -> bool:
    """Whether these are lists of one length, and none of them a conversation."""
    if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return False
    return not any(isinstance(item, dict) and _TURN & item.keys() for column in columns for item in column)


def _are_numbered(columns: list[Any]) -> bool:
    """Whether these are objects whose keys are the same numbers."""
    if not all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        return False
    return bool(columns[0]) and all(number.isdigit() for number in columns[0])


def _join(whole: Kind, part: Kind) -> None:
    """Add to `whole` what `part` has seen."""
    whole.text |= part.text
    whole.number |= part.number
    whole.truth |= part.truth
    if part.items is not None:
        whole.items = whole.items or Kind()
        _join(whole.items, part.items)
    if part.fields is not None:
        whole.fields = {} if whole.fields is None else whole.fields
        for name, inner in part.fields.items():
            _join(whole.fields.setdefault(name, Kind()), inner)


def _batched(rows: Iterator[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _header(file: Path, encoding: str, separator: str, key: str) -> tuple[list[str], str, str, tuple[str, ...]]:
    """The names of the columns, the separator and the line end that are used, and what is to be said of them."""
    with open_text(file, encoding, key) as text:
        first = text.readline()
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
    """Raise DataError, naming the line, where a row has more fields than there are columns or a quote has no end."""
    csv.field_size_limit(1 << 40)
    with open_text(file, encoding, key) as text:
        rows = csv.reader(text, delimiter=separator, strict=True)
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
    """The file as plain UTF-8, in a folder that goes when this process ends."""
    path = Path(_scratch()) / f"{len(os.listdir(_scratch()))}.csv"
    with path.open("w", encoding="utf-8", newline="") as copy, open_text(file, encoding, key) as text:
        shutil.copyfileobj(text, copy, 1 << 20)
    return path


@lru_cache(maxsize=1)
def _scratch() -> str:
    folder = tempfile.mkdtemp(prefix="eva-data-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _encoding_note(file: Path, encoding: str) -> list[str]:
    if encoding in ("utf-8", "utf-8-sig"):
        return []
    return [f"{file.name} is read as {encoding.upper()} text"]


def _word(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "a list", bool: "a truth value"}.get(type(value), "a number")
