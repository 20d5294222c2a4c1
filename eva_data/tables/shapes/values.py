"""Reads texts and numbers from columns of any type."""

from __future__ import annotations

import polars as pl

from eva_data.errors import DataError
from eva_data.tables.reading.kinds import LIST, NUMBER, OBJECT, TEXT, TRUTH, alternatives, described
from eva_data.tables.reading.source import Schema

_NAN = "NaN"


def text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The text of a value. A number gives the characters that it is written with; a list or an object gives null.

    NaN in the place of a text is a missing value, so it gives null.
    """
    found = []
    for kind, (part, inner) in alternatives(value, dtype).items():
        if kind == TEXT:
            found.append(part)
        elif kind == NUMBER:
            characters = part.cast(pl.String)
            found.append(pl.when(characters != _NAN).then(characters))
        elif kind == TRUTH and inner == pl.Boolean:
            found.append(part.cast(pl.String))
    return pl.coalesce(found) if found else _none(value, pl.String)


def number(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The number in a value: the number itself, a decimal text, 1 for true, 0 for false; else null."""
    found = []
    for kind, (part, inner) in alternatives(value, dtype).items():
        if kind == TRUTH or (kind == NUMBER and inner.is_numeric()):
            found.append(part.cast(pl.Float64))
        elif kind in (NUMBER, TEXT):
            written = part.str.strip_chars().str.to_lowercase()
            truth = pl.when(written == "true").then(1.0).when(written == "false").then(0.0)
            found.append(pl.coalesce(truth, written.cast(pl.Float64, strict=False)))
    return pl.coalesce(found) if found else _none(value, pl.Float64)


def _none(value: pl.Expr, dtype: type[pl.DataType]) -> pl.Expr:
    """As many nulls as there are values; a bare literal would be one row."""
    return pl.when(value.is_null()).then(pl.lit(None, dtype=dtype))


def may_be_text(dtype: pl.DataType) -> bool:
    """Whether a column can hold texts; a number counts as a text."""
    return bool({TEXT, NUMBER, TRUTH} & set(alternatives(pl.lit(None), dtype)))


def is_text(dtype: pl.DataType) -> bool:
    return TEXT in alternatives(pl.lit(None), dtype)


def may_be_number(dtype: pl.DataType) -> bool:
    """Whether a column can hold numbers; a text may be a number."""
    return bool({TEXT, NUMBER, TRUTH} & set(alternatives(pl.lit(None), dtype)))


def is_number(dtype: pl.DataType) -> bool:
    """Whether a column holds numbers by its type."""
    kinds = set(alternatives(pl.lit(None), dtype))
    return bool(kinds & {NUMBER, TRUTH}) and not kinds & {LIST, OBJECT}


def items_of(value: pl.Expr, dtype: pl.DataType) -> tuple[pl.Expr, pl.DataType] | None:
    """The value as a list, with the type of its items; None if it cannot be a list."""
    found = alternatives(value, dtype).get(LIST)
    if found is None:
        return None
    assert isinstance(found[1], pl.List)
    inner = found[1].inner
    return found[0], inner() if isinstance(inner, type) else inner


def fields_of(dtype: pl.DataType) -> dict[str, pl.DataType]:
    """The types of an object's fields, by name; empty if the value cannot be an object."""
    found = alternatives(pl.lit(None), dtype).get(OBJECT)
    if found is None:
        return {}
    assert isinstance(found[1], pl.Struct)
    return {field.name: field.dtype() if isinstance(field.dtype, type) else field.dtype for field in found[1].fields}


def field(value: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """A field of an object; null if the value is not an object."""
    return alternatives(value, dtype)[OBJECT][0].struct.field(name)


def at_path(value: pl.Expr, dtype: pl.DataType, path: list[str]) -> tuple[pl.Expr, pl.DataType] | None:
    """The value, with its type, at a path of fields within an object; None if the path leads nowhere."""
    for name in path:
        fields = fields_of(dtype)
        if name not in fields:
            return None
        value, dtype = field(value, dtype, name), fields[name]
    return value, dtype


def column(name: str, schema: Schema, twice: frozenset[str], key: str, source: str) -> tuple[pl.Expr, pl.DataType]:
    """A column, or a field of a column by a dotted path. Raise DataError, which names the columns, if there is none."""
    if name in twice:
        raise DataError(f"`{key}` is `{name}`, but {source} has several columns of that name: rename all but one")
    if name in schema:
        return pl.col(name), schema[name]
    first, *rest = name.split(".")
    found = at_path(pl.col(first), schema[first], rest) if first in schema and rest else None
    if found is None:
        outer = first.removesuffix("[]")
        inside = f", and `{outer}` holds {described(schema[outer])}" if outer in schema else ""
        raise DataError(
            f"`{key}` is `{name}`, but {source} has the columns {', '.join(schema)}{inside}: name one of them"
        )
    return found


def plain(values: pl.Series, *, untyped: bool) -> pl.Series:
    """Values as a user's function expects them: numbers of a JSON file are numbers again, mixed kinds are text.

    `untyped` values come from a format that holds only text. They become numbers if every value is written as a number
    is: 42 is a number, 007 is not.
    """
    kinds = alternatives(pl.col(values.name), values.dtype)
    frame = values.to_frame()
    if untyped and values.dtype == pl.String:
        for dtype in (pl.Int64(), pl.Float64()):
            numbers = values.cast(dtype, strict=False)
            if (numbers.cast(pl.String) == values).all() and numbers.null_count() == values.null_count():
                return numbers
        return values
    if not isinstance(values.dtype, pl.Struct) or OBJECT in kinds or LIST in kinds:
        return values
    if set(kinds) == {NUMBER}:
        characters = frame.select(kinds[NUMBER][0]).to_series()
        whole = characters.cast(pl.Int64, strict=False)
        chosen = whole if whole.null_count() == characters.null_count() else characters.cast(pl.Float64, strict=False)
        return chosen.alias(values.name)
    if set(kinds) == {TRUTH}:
        return frame.select(kinds[TRUTH][0].alias(values.name)).to_series()
    return frame.select(text(pl.col(values.name), values.dtype).alias(values.name)).to_series()
