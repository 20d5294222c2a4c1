"""The rows and results of a job, which stay in its files and are read and written a bounded number at a time."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from eva_data.calls import GAVE_UP, Row
from eva_data.files import write_shards

if TYPE_CHECKING:
    import polars as pl

READ_ROWS = 1000
"""Rows of a job's files in memory at once."""


@dataclass(frozen=True)
class Parted:
    """The rows for a job that are made part by part whenever they are read, so that they are never all in memory."""

    height: int
    """The number of rows in all parts."""
    parts: Callable[[], Iterator[pl.DataFrame]]
    """Makes the rows. It gives the same parts every time, all of one schema, and at least one."""


ForJob: TypeAlias = "pl.DataFrame | Parted"
"""The rows for a job, in memory or made part by part."""


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

    def are_of(self, rows: ForJob) -> bool:
        """Whether these are the results of exactly these rows, in this order."""
        if self._file is None or len(self) != rows.height:
            return len(self) == rows.height
        done = self._texts()
        return all(text == next(done, None) for part in _parts(rows) for text in texts_of(part)["row"])

    def are_of_file(self, path: Path) -> bool:
        """Whether these are the results of exactly the rows in a job's input file, in this order."""
        given = InputRows(path)
        if self._file is None or len(self) != len(given):
            return len(self) == len(given)
        return all(text == done for text, done in zip(given.texts(), self._texts(), strict=True))

    def _texts(self) -> Iterator[str]:
        assert self._file is not None
        return _column(self._file, "row")


class InputRows:
    """The rows in a job's input file, each decoded when it is reached. They can be iterated any number of times."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def __iter__(self) -> Iterator[Row]:
        return map(json.loads, self.texts())

    def texts(self) -> Iterator[str]:
        """The rows as JSON texts."""
        return _column(self._file, "row")


def write_results(path: Path, rows: InputRows, results: Iterable[Any]) -> None:
    """Write one result per row to a job's output file, whole or not at all, as the results come.

    Raise ValueError if there are more or fewer results than rows.
    """
    pairs = zip(rows.texts(), results, strict=True)

    def tables() -> Iterator[pa.Table]:
        schema = pa.schema({"row": pa.string(), "result": pa.string()})
        yield schema.empty_table()
        while part := [(text, json.dumps(result)) for text, result in islice(pairs, READ_ROWS)]:
            texts, found = zip(*part, strict=True)
            yield pa.table([texts, found], schema=schema)

    write_shards(path, tables(), sys.maxsize, group_rows=READ_ROWS)


def write_rows(path: Path, rows: ForJob) -> None:
    """Write the rows of a job as JSON texts in the column `row`, a bounded number at a time."""
    writer: pq.ParquetWriter | None = None
    for part in _parts(rows):
        table = texts_of(part).to_arrow()
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def _parts(rows: ForJob) -> Iterator[pl.DataFrame]:
    """The rows in parts of READ_ROWS rows at most, at least one part."""
    for whole in rows.parts() if isinstance(rows, Parted) else [rows]:
        yield from whole.iter_slices(READ_ROWS) if whole.height else [whole]


def _column(file: pq.ParquetFile, name: str) -> Iterator[str]:
    for batch in file.iter_batches(READ_ROWS, columns=[name]):
        yield from batch.column(name).to_pylist()


def texts_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Each row as a JSON text, in the column `row`."""
    import polars as pl

    return rows.select(row=pl.struct(rows.columns).struct.json_encode())
