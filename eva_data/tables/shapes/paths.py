"""Paths to texts and numbers: a column, a field of an object, or a field of objects in a list (`answers[].rank`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from eva_data.tables.reading.source import Schema
from eva_data.tables.shapes.conversations import answer, is_one_answer
from eva_data.tables.shapes.values import at_path, items_of, number, text

Take = Callable[[pl.Expr, pl.DataType], pl.Expr]


@dataclass(frozen=True)
class Path:
    """Where a value is: the list that holds one value per response, if there is one, and the fields from there."""

    outer: tuple[str, ...]
    inner: tuple[str, ...]
    is_list: bool

    @property
    def written(self) -> str:
        """The path as the settings write it."""
        outer = ".".join(self.outer)
        return ".".join((f"{outer}[]" if self.is_list and self.inner else outer, *self.inner))


def path_of(name: str, schema: Schema) -> Path | None:
    """The path that a name means in a table; None if it leads nowhere."""
    plain = name.replace("[]", "")
    parts = (name,) if name in schema else (plain,) if plain in schema else tuple(plain.split("."))
    if parts[0] not in schema:
        return None
    value, dtype = pl.col(parts[0]), schema[parts[0]]
    for place in range(1, len(parts) + 1):
        rest = parts[place:]
        if not rest:
            # A conversation and a content in parts are lists too, but each is one response.
            return Path(parts, (), items_of(value, dtype) is not None and not is_one_answer(dtype))
        found = at_path(value, dtype, [rest[0]])
        if found is not None:
            value, dtype = found
            continue
        items = items_of(value, dtype)
        if items is None or at_path(pl.element(), items[1], list(rest)) is None:
            return None
        return Path(parts[:place], rest, True)
    return None


def column_at(path: Path, schema: Schema) -> tuple[pl.Expr, pl.DataType]:
    """The list or the value at the outer part of a path, with its type."""
    found = at_path(pl.col(path.outer[0]), schema[path.outer[0]], list(path.outer[1:]))
    assert found is not None
    return found


def type_at(path: Path, schema: Schema) -> pl.DataType:
    """The type of each value at a path."""
    found = column_at(path, schema)
    if not path.is_list:
        return found[1]
    items = items_of(*found)
    assert items is not None
    inner = at_path(pl.element(), items[1], list(path.inner))
    assert inner is not None
    return inner[1]


def texts(path: Path, schema: Schema) -> pl.Expr:
    """A list of the texts at a path; of a conversation, the answer."""
    return _listed(path, schema, answer, pl.String())


def names(path: Path, schema: Schema) -> pl.Expr:
    """A list of the names at a path."""
    return _listed(path, schema, text, pl.String())


def numbers(path: Path, schema: Schema) -> pl.Expr:
    """A list of the numbers at a path; an item is null if it cannot be read as a number."""
    return _listed(path, schema, number, pl.Float64())


def given(path: Path, schema: Schema) -> pl.Expr:
    """A list of booleans: whether there is any value at a path."""
    return _listed(path, schema, _is_given, pl.Boolean())


def _is_given(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    written = text(value, dtype)
    return (written.is_not_null() & (written.str.strip_chars() != "")).fill_null(False)


def _listed(path: Path, schema: Schema, take: Take, dtype: pl.DataType) -> pl.Expr:
    if path.outer[0] not in schema:
        return pl.lit(None, dtype=pl.List(dtype))
    found = at_path(pl.col(path.outer[0]), schema[path.outer[0]], list(path.outer[1:]))
    if found is None:
        return pl.lit(None, dtype=pl.List(dtype))
    if not path.is_list:
        return pl.concat_list(take(*found)).cast(pl.List(dtype))
    items = items_of(*found)
    inner = None if items is None else at_path(pl.element(), items[1], list(path.inner))
    if items is None or inner is None:
        return pl.lit(None, dtype=pl.List(dtype))
    each = items[0].list.eval(take(*inner)).cast(pl.List(dtype))
    if path.inner or isinstance(found[1], pl.List | pl.Array):
        return each
    # A file may have lists in some rows and single values in others. A single value becomes a list of one item.
    one = pl.when(found[0].is_not_null()).then(pl.concat_list(take(*found)).cast(pl.List(dtype)))
    return pl.when(items[0].is_not_null()).then(each).otherwise(one)
