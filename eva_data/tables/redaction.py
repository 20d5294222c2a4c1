"""Removes the values of secret environment variables from tables, however deep they stand in a column."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from eva_data.secrets import SHOWN, secret_values


def without_secrets(table: pl.DataFrame) -> pl.DataFrame:
    """The table with `***` in the place of every secret; the same object if the table holds no secret."""
    secrets = secret_values()
    if not secrets:
        return table
    hit = [name for name in table.columns if _may_hold(table[name], secrets)]
    texts = {name: table.schema[name] for name in hit if _has_text(table.schema[name])}
    return table.with_columns(_cleaned(pl.col(name), dtype, secrets).alias(name) for name, dtype in texts.items())


def _may_hold(column: pl.Series, secrets: list[str]) -> bool:
    """Whether a secret stands somewhere in a column's memory, perhaps across the border of two texts."""
    array = column.to_arrow()
    chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
    buffers = (buffer.to_pybytes() for chunk in chunks for buffer in chunk.buffers() if buffer is not None)
    wanted = [secret.encode() for secret in secrets]
    return any(secret in content for content in buffers for secret in wanted)


def _has_text(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.List):
        return _has_text(_typed(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return any(_has_text(_typed(field.dtype)) for field in dtype.fields)
    return isinstance(dtype, pl.String)


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
