"""Learns from all rows of a JSON file which kinds of value stand at each place, and which type keeps them.

If all values at a place have one kind (text, list or object), they are kept as that kind. Numbers and truth values are
kept as the characters that were written. If a place mixes kinds (a content that is text here and a list there), each
kind gets a field of its own, so that no value is converted. These fields are the *alternatives* of a value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from eva_data.tables.reading.json_values import Number

TEXT, NUMBER, TRUTH, LIST, OBJECT = ALTERNATIVES = tuple(
    f"\x1f{name}" for name in ("text", "number", "truth", "list", "object")
)
"""Names of the fields of a value of several kinds. No key of a file begins with their first character."""

MOST_KEYS = 1000
"""An object with more keys than this is a mapping, not a record, and is left out."""

Convert = Callable[[Any], Any]


class Kind:
    """The kinds seen at one place of a file."""

    __slots__ = ("fields", "items", "number", "text", "truth")

    def __init__(self) -> None:
        self.text = self.number = self.truth = False
        self.items: Kind | None = None
        self.fields: dict[str, Kind] | None = None

    def see(self, value: Any) -> None:
        """Take note of a value."""
        kind = type(value)
        if kind is str:
            self.text = True
        elif value is None:
            return
        elif kind is Number:
            self.number = True
        elif kind is bool:
            self.truth = True
        elif kind is list:
            if self.items is None:
                self.items = Kind()
            see = self.items.see
            for item in value:
                see(item)
        else:
            if self.fields is None:
                self.fields = {}
            fields = self.fields
            for key, item in value.items():
                inner = fields.get(key)
                if inner is None:
                    if len(fields) > MOST_KEYS:
                        continue
                    inner = fields[key] = Kind()
                inner.see(item)

    def column(self) -> tuple[pa.DataType, Convert | None]:
        """The type that keeps the values of this place, and the conversion of a value; None if none is needed."""
        parts: dict[str, tuple[pa.DataType, Convert | None]] = {}
        if self.text:
            parts[TEXT] = pa.large_string(), None
        if self.number:
            parts[NUMBER] = pa.large_string(), None
        if self.truth:
            parts[TRUTH] = pa.bool_(), None
        if self.items is not None:
            inner, convert = self.items.column()
            parts[LIST] = pa.large_list(inner), None if convert is None else _each(convert)
        if self.fields and len(self.fields) <= MOST_KEYS:
            parts[OBJECT] = _object(self.fields)
        if not parts:
            return pa.large_string(), _nothing
        if len(parts) == 1 and not (self.number or self.truth):
            return next(iter(parts.values()))
        return pa.struct([(name, dtype) for name, (dtype, _) in parts.items()]), _alternative(parts)


def alternatives(value: pl.Expr, dtype: pl.DataType) -> dict[str, tuple[pl.Expr, pl.DataType]]:
    """An expression and a type per kind that a value may have; it is null where the value has another kind."""
    if isinstance(dtype, pl.Struct):
        fields = {field.name: field.dtype for field in dtype.fields}
        if fields and all(name in ALTERNATIVES for name in fields):
            return {name: (value.struct.field(name), _class(inner)) for name, inner in fields.items()}
        return {OBJECT: (value, dtype)}
    if isinstance(dtype, pl.List):
        return {LIST: (value, dtype)}
    if isinstance(dtype, pl.Array):
        return {LIST: (value.cast(pl.List(dtype.inner)), pl.List(dtype.inner))}
    if dtype == pl.Boolean:
        return {TRUTH: (value, dtype)}
    if dtype.is_numeric():
        return {NUMBER: (value, dtype)}
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return {TEXT: (value.cast(pl.String), pl.String())}
    return {}


def _class(dtype: Any) -> pl.DataType:
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made


def described(dtype: pl.DataType) -> str:
    """A type in plain words."""
    words = {TEXT: "text", NUMBER: "numbers", TRUTH: "true and false"}
    found = []
    for kind, (_, inner) in alternatives(pl.lit(None), dtype).items():
        if kind == LIST:
            assert isinstance(inner, pl.List)
            found.append(f"lists of {described(_class(inner.inner))}")
        elif kind == OBJECT:
            assert isinstance(inner, pl.Struct)
            found.append(f"objects with {', '.join(field.name for field in inner.fields[:8])}")
        else:
            found.append(words[kind])
    return " or ".join(found) or ("nothing but nulls" if dtype == pl.Null else str(dtype))


def _nothing(_: Any) -> None:
    return None


def _each(convert: Convert) -> Convert:
    return lambda value: None if value is None else [convert(item) for item in value]


def _object(fields: Mapping[str, Kind]) -> tuple[pa.DataType, Convert | None]:
    columns = {name: kind.column() for name, kind in fields.items()}
    dtype = pa.struct([(name, inner) for name, (inner, _) in columns.items()])
    converts = {name: convert for name, (_, convert) in columns.items() if convert is not None}
    if not converts:
        return dtype, None

    def convert(value: Any) -> Any:
        if value is None:
            return None
        return value | {name: change(value.get(name)) for name, change in converts.items()}

    return dtype, convert


def _alternative(parts: Mapping[str, tuple[pa.DataType, Convert | None]]) -> Convert:
    list_of = parts.get(LIST, (None, None))[1]
    object_of = parts.get(OBJECT, (None, None))[1]

    def convert(value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return {TEXT: value}
        if value is None:
            return None
        if kind is Number:
            return {NUMBER: value}
        if kind is bool:
            return {TRUTH: value}
        if kind is list:
            return {LIST: value if list_of is None else list_of(value)}
        return {OBJECT: value if object_of is None else object_of(value)}

    return convert
