"""An open foreign table: its lazy frames, all columns of these, and notes on it for the user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
import pyarrow as pa

from eva_data.errors import DataError

Schema = Mapping[str, pl.DataType]


@dataclass(frozen=True)
class Source:
    """A file, folder or Hub dataset."""

    name: str
    """The value of the column `source`: a file name or Hub id."""
    key: str
    """The setting that names the table."""
    frames: tuple[tuple[str, pl.LazyFrame], ...]
    """Pairs of a name for errors and a frame."""
    notes: tuple[str, ...] = ()
    twice: frozenset[str] = frozenset()
    """Names that more than one column has."""
    untyped: bool = False
    """Whether the format holds only text."""
    cuts: tuple[tuple[tuple[int, int], ...], ...] = ()
    """For each frame, the first row and the number of rows of the pieces in which it can be read one by one. A frame
    that can only be read as a whole has none; empty if all are such."""

    @cached_property
    def schema(self) -> dict[str, pl.DataType]:
        """Every column of any frame, with its type."""
        merged: dict[str, pl.DataType] = {}
        for own in self._schemas:
            for name, dtype in own.items():
                if merged.get(name, pl.Null()) == pl.Null:
                    merged[name] = dtype
        return merged

    @cached_property
    def _schemas(self) -> list[pl.Schema]:
        found = []
        for name, frame in self.frames:
            with reading(self.key, name):
                found.append(frame.collect_schema())
        return found

    def map(self, make: Callable[[pl.LazyFrame, Schema], pl.LazyFrame]) -> pl.LazyFrame:
        """Apply `make` to each frame and its columns, and concatenate the results, which must have the same columns.

        A column that a frame lacks holds nulls there.
        """
        return pl.concat(
            [self._made(frame, own, make) for (_, frame), own in zip(self.frames, self._schemas, strict=True)]
        )

    def _made(
        self, frame: pl.LazyFrame, own: Schema, make: Callable[[pl.LazyFrame, Schema], pl.LazyFrame]
    ) -> pl.LazyFrame:
        absent = [name for name in self.schema if name not in own]
        whole = frame.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in absent)
        return make(whole, dict(own) | dict.fromkeys(absent, pl.String()))

    def collect(self, table: pl.LazyFrame) -> pl.DataFrame:
        """Collect a table that `map` made. Raise DataError, which names the file, if a file cannot be read."""
        with self._read():
            return table.collect(engine="streaming")

    def batches(self, make: Callable[[pl.LazyFrame, Schema], pl.LazyFrame], rows: int) -> Iterator[pl.DataFrame]:
        """What `map` gives, at most so many rows at a time. Raise the errors of `collect`.

        Of a frame with cuts, one piece is in memory, whatever is done with the rows meanwhile. Of another one polars
        reads ahead.
        """
        cuts = self.cuts or ((),) * len(self.frames)
        with self._read():
            for (_, frame), own, pieces in zip(self.frames, self._schemas, cuts, strict=True):
                for piece in pieces:
                    yield from self._made(frame.slice(*piece), own, make).collect(engine="streaming").iter_slices(rows)
                if not pieces:
                    whole = self._made(frame, own, make)
                    yield from whole.collect_batches(chunk_size=rows, maintain_order=True, engine="streaming")

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
            for name, frame in self.frames:
                with reading(self.key, name):
                    frame.select(pl.all().count()).collect(engine="streaming")
            raise DataError(f"`{self.key}`: {self.name} cannot be read: {first_line(error)}") from None


@contextmanager
def reading(key: str, name: str) -> Iterator[None]:
    """Turn a library's error about a file into a DataError that names the file and says what to do."""
    try:
        yield
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError) as error:
        suffix = Path(name).suffix.removeprefix(".") or "data"
        raise DataError(
            f"`{key}` is {name}, which cannot be read as {suffix}: {first_line(error)}; write the file again, or name "
            "it by what it is"
        ) from None


def first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
