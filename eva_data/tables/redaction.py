"""Tables without the values of secret environment variables, however deep they stand in a column."""

from __future__ import annotations

import polars as pl

from eva_data.secrets import SHOWN, secret_values


def without_secrets(table: pl.DataFrame) -> pl.DataFrame:
    """The table with every secret in its texts as `***`; the same table where it holds none."""
    secrets = secret_values()
    if not secrets:
        return table
    texts = {name: dtype for name, dtype in table.schema.items() if _has_text(dtype)}
    if not texts:
        return table
    found = table.select(_holds(pl.col(name), dtype, secrets).any().alias(name) for name, dtype in texts.items())
    hit = [name for name, there in found.row(0, named=True).items() if there]
    return table.with_columns(_cleaned(pl.col(name), texts[name], secrets).alias(name) for name in hit)


def _has_text(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        return _has_text(_typed(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return any(_has_text(_typed(field.dtype)) for field in dtype.fields)
    return isinstance(dtype, pl.String)


def _holds(column: pl.Expr, dtype: pl.DataType, secrets: list[str]) -> pl.Expr:
    """Whether a text in the column holds a secret."""
    if isinstance(dtype, pl.List):
        return column.list.eval(_holds(pl.element(), _typed(dtype.inner), secrets)).list.any()
    if isinstance(dtype, pl.Struct):
        inner = [
            _holds(column.struct.field(field.name), _typed(field.dtype), secrets)
            for field in dtype.fields
            if _has_text(_typed(field.dtype))
        ]
        return pl.any_horizontal(inner)
    return column.str.contains_any(secrets)


def _cleaned(column: pl.Expr, dtype: pl.DataType, secrets: list[str]) -> pl.Expr:
    if not _has_text(dtype):
        return column
    if isinstance(dtype, pl.List):
        return column.list.eval(_cleaned(pl.element(), _typed(dtype.inner), secrets))
    if isinstance(dtype, pl.Struct):
        fields = [
            _cleaned(column.struct.field(field.name), _typed(field.dtype), secrets).alias(field.name)
            for field in dtype.fields
        ]
        return pl.when(column.is_not_null()).then(pl.struct(fields))
    return column.str.replace_many(secrets, [SHOWN] * len(secrets))


def _typed(dtype: object) -> pl.DataType:
    assert isinstance(dtype, pl.DataType)
    return dtype
