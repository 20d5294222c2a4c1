"""Reads JSON files as lazy tables in which text stays text.

A file is read twice. The first pass learns its columns and finds errors, by row. The second pass reads a batch of rows
at a time when the table is collected. Memory holds no more than a batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from eva_data.errors import DataError
from eva_data.tables.reading.encodings import encoding_of, open_text
from eva_data.tables.reading.json_values import Values
from eva_data.tables.reading.kinds import MOST_KEYS, Kind
from eva_data.tables.reading.text_files import PROMPT, Read, batched, encoding_note, stamp

_TURN = {"role", "from"}
"""Keys of a turn. A list of turns is one conversation, not the rows of a table."""


def read_json(files: tuple[Path, ...], asked: str | None, key: str) -> Read:
    """One row per object, from a JSON array, from lines, or from the only array inside an object."""
    encodings = tuple(encoding_of(file, asked, key) for file in files)
    kind = Kind()
    notes = []
    for file, encoding in zip(files, encodings, strict=True):
        one, mended = _survey(file, stamp(file), encoding, key)
        for row_kind in one:
            _join(kind, row_kind)
        if mended:
            notes.append(f"{file.name}: half a surrogate pair became U+FFFD in {mended} rows")
        notes += encoding_note(file, encoding)
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
            for rows in batched(_rows(file, encoding, key)):
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

    def pieces() -> Iterator[pl.LazyFrame]:
        return (batch.lazy() for batch in batches(None, None, None, None))

    return Read(register_io_source(batches, schema=schema), tuple(notes), pieces=pieces)


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
    """The rows among a file's values: every object is a row, and every text is a prompt."""
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
            # If this is the only value of the file, it may hold the rows.
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

    If the object holds one list of objects, these are the rows. If every value is a list, or an object whose keys are
    the numbers of the rows (as pandas writes it), the values are columns. Else the object itself is the only row.
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
    """Whether these are lists of the same length and none of them is a conversation."""
    if not all(isinstance(column, list) and len(column) == len(columns[0]) for column in columns):
        return False
    return not any(isinstance(item, dict) and _TURN & item.keys() for column in columns for item in column)


def _are_numbered(columns: list[Any]) -> bool:
    """Whether these are objects whose keys are the same numbers."""
    if not all(isinstance(column, dict) and column.keys() == columns[0].keys() for column in columns):
        return False
    return bool(columns[0]) and all(number.isdigit() for number in columns[0])


def _join(whole: Kind, part: Kind) -> None:
    """Add everything that `part` has seen to `whole`."""
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


def _word(value: Any) -> str:
    if value is None:
        return "null"
    return {list: "a list", bool: "a truth value"}.get(type(value), "a number")
