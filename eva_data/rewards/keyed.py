"""The texts that a reward job scores, by their keys in the ledger. They are read from the job's rows when needed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import numpy as np

from eva_data.calls import Row, Rows
from eva_data.ledger import Ledger, Score

W = TypeVar("W")

CHUNK_ROWS = 500
"""Number of rows that are looked up in the ledger together."""

TextsOf: TypeAlias = Callable[[Row], Sequence[tuple[bytes, W]]]
"""Gives everything that is scored for a row, such as each response, with its key in the ledger."""


class KeyedRows(Generic[W]):
    """The rows of a job, of which no more than CHUNK_ROWS are in memory at once, and 8 bytes of each key.

    A text whose key occurs several times is scored once.
    """

    def __init__(self, rows: Rows, texts_of: TextsOf[W], ledger: Path) -> None:
        self._rows, self._texts_of, self._ledger = rows, texts_of, ledger
        self.responses = 0
        """The number of responses of all rows."""
        wanted, lacking = array("Q"), array("Q")
        with Ledger(ledger) as opened:
            for chunk in self._chunks(self._counted()):
                keys = [key for row in chunk for key, _ in row]
                kept = opened.scores(keys)
                wanted.extend(map(_beginning, keys))
                lacking.extend(_beginning(key) for key in keys if key not in kept)
        numbers, times = np.unique(np.array(wanted, dtype=np.uint64), return_counts=True)
        self.distinct = len(numbers)
        """The number of different keys."""
        self.missing = len(np.unique(np.array(lacking, dtype=np.uint64)))
        """The number of them without a score in the ledger."""
        # Keys that only begin alike are among them too, which does no harm.
        self._repeated = frozenset(numbers[times > 1].tolist())

    def once(self) -> Iterator[tuple[bytes, W]]:
        """Every key with its text, where it occurs first."""
        yield from self._once(None)

    def open(self) -> Iterator[tuple[bytes, W]]:
        """The same without the keys that have a score in the ledger by then."""
        # The iterator may run in a thread of its own, and a connection belongs to one thread at a time.
        with Ledger(self._ledger) as ledger:
            yield from self._once(ledger)

    def scores(self, failed: Mapping[bytes, Score]) -> Iterator[list[Score]]:
        """One list per row: the score of each of its texts, from `failed` or else from the ledger."""
        with Ledger(self._ledger) as ledger:
            for chunk in self._chunks(self._rows):
                kept = ledger.scores([key for row in chunk for key, _ in row if key not in failed])
                for row in chunk:
                    yield [failed[key] if key in failed else kept[key] for key, _ in row]

    def _counted(self) -> Iterator[Row]:
        for row in self._rows:
            self.responses += len(row["responses"])
            yield row

    def _chunks(self, rows: Iterable[Row]) -> Iterator[list[Sequence[tuple[bytes, W]]]]:
        remaining = iter(rows)
        while chunk := [*islice(remaining, CHUNK_ROWS)]:
            yield [self._texts_of(row) for row in chunk]

    def _once(self, ledger: Ledger | None) -> Iterator[tuple[bytes, W]]:
        seen: set[bytes] = set()
        for chunk in self._chunks(self._rows):
            kept: Iterable[bytes] = () if ledger is None else ledger.scores([key for row in chunk for key, _ in row])
            for key, text in (each for row in chunk for each in row):
                if key in kept or key in seen:
                    continue
                if _beginning(key) in self._repeated:
                    seen.add(key)
                yield key, text


def _beginning(key: bytes) -> int:
    return int.from_bytes(key[:8], "big")
