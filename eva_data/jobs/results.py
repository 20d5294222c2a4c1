"""The results of a job, which stay in its output file and are read a bounded number at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from eva_data.calls import GAVE_UP

if TYPE_CHECKING:
    import polars as pl

READ_ROWS = 1000
"""Rows of a job's files in memory at once."""


class Results:
    """One (row, result) per row of a job, in order, each decoded when it is reached.

    It can be iterated any number of times, also after the job's folder was removed, since the file stays open.
    """

    def __init__(self, path: Path | None) -> None:
        """`path` is the job's output file; None if the job had no rows."""
        self._file = None if path is None else pq.ParquetFile(path)

    def __len__(self) -> int:
        return 0 if self._file is None else int(self._file.metadata.num_rows)

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Any]]:
        if self._file is None:
            return
        for batch in self._file.iter_batches(READ_ROWS, columns=["row", "result"]):
            rows, results = (batch.column(name).to_pylist() for name in ("row", "result"))
            for row, result in zip(rows, results, strict=True):
                yield json.loads(row), json.loads(result)

    def unanswered(self) -> int:
        """How many rows have no result at all, which is a failure of the job."""
        if self._file is None:
            return 0
        return sum(
            batch.column("result").null_count for batch in self._file.iter_batches(READ_ROWS, columns=["result"])
        )

    def given_up(self) -> bool:
        """Whether a call in some result was given up, so that a rerun asks again."""
        import polars as pl

        if self._file is None:
            return False
        for batch in self._file.iter_batches(READ_ROWS, columns=["result"]):
            if pl.Series(batch.column("result")).str.contains(GAVE_UP, literal=True).any():
                return True
        return False

    def are_of(self, rows: pl.DataFrame) -> bool:
        """Whether these are the results of exactly these rows, in this order."""
        import polars as pl

        if self._file is None or len(self) != rows.height:
            return len(self) == rows.height
        start = 0
        for batch in self._file.iter_batches(READ_ROWS, columns=["row"]):
            asked = texts_of(rows.slice(start, batch.num_rows))
            if not pl.Series("row", batch.column("row")).equals(asked["row"]):
                return False
            start += batch.num_rows
        return True


def write_rows(path: Path, rows: pl.DataFrame) -> None:
    """Write the rows of a job as JSON texts in the column `row`, a bounded number at a time."""
    schema = texts_of(rows.clear()).to_arrow().schema
    with pq.ParquetWriter(path, schema) as writer:
        for part in rows.iter_slices(READ_ROWS):
            writer.write_table(texts_of(part).to_arrow())


def texts_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Each row as a JSON text, in the column `row`."""
    import polars as pl

    return rows.select(row=pl.struct(rows.columns).struct.json_encode())
