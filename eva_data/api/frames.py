"""Tables of every kind that users hold: polars, pandas, Arrow, datasets, and lists of dicts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from eva_data.errors import DataError

FrameT = TypeVar("FrameT")
"""A polars DataFrame or LazyFrame, pandas DataFrame, Arrow table, `datasets.Dataset`, or list of dicts."""

Back = Callable[[pl.DataFrame], Any]


def opened(frame: Any) -> tuple[pl.LazyFrame, Back]:
    """The table as a polars frame, and the function that turns a result into the kind that was given.

    pandas and datasets are not imported: who holds such a table has imported them. Raise DataError for any other
    object.
    """
    if isinstance(frame, pl.LazyFrame):
        return frame, pl.DataFrame.lazy
    if isinstance(frame, pl.DataFrame):
        return frame.lazy(), lambda result: result
    if isinstance(frame, pa.Table):
        return pl.DataFrame(frame).lazy(), pl.DataFrame.to_arrow
    if isinstance(frame, list) and all(isinstance(row, dict) for row in frame):
        return pl.DataFrame(frame, infer_schema_length=None).lazy(), pl.DataFrame.to_dicts
    if (pandas := sys.modules.get("pandas")) is not None and isinstance(frame, pandas.DataFrame):
        return pl.from_pandas(frame).lazy(), pl.DataFrame.to_pandas
    if (datasets := sys.modules.get("datasets")) is not None and isinstance(frame, datasets.Dataset):
        arrow = frame.with_format("arrow")[:]
        return pl.DataFrame(arrow).lazy(), lambda result: datasets.Dataset(result.to_arrow())
    raise DataError(
        f"the table is a {type(frame).__module__}.{type(frame).__qualname__}: expected a polars or pandas DataFrame, "
        "an Arrow table, a datasets.Dataset (one split, not a DatasetDict) or a list of dicts"
    )
