"""Claims the calls that a job computes by itself, so that no other process computes them at the same time.

`keeper` does the same for calls that a server answers, in an event loop and with a budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import TypeVar

from eva_data.calls import Completion
from eva_data.errors import DataError
from eva_data.ledger.owners import BEAT_SECONDS, Owners
from eva_data.ledger.records import Bill, Ledger, Score

LOOK_SECONDS = 0.2
"""Seconds after which a job that waits for other processes should look again."""

B = TypeVar("B")
V = TypeVar("V")


class Claims:
    """The claims of one job. While it holds some, a thread tells other processes that the job is alive.

    A job may wait for the calls of others only while it holds no claims itself. So no two jobs wait for each other.
    """

    def __init__(self, ledger: Ledger, model: str, stage: str, iteration: int) -> None:
        """`model`, `stage` and `iteration` say what the job is at, to whoever looks at the ledger."""
        self._ledger = ledger
        self._owners = Owners(ledger, Bill(model, stage, iteration, 0, 0, 0, 0.0, 0.0))
        self._ended = Event()
        self._heart: Thread | None = None

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def take(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Completion], set[bytes]]:
        """The calls that are finished by now, with their completions, and the calls that this job shall compute.

        The other calls are under way in other processes, and may be asked for again after a while.
        """
        return self._take(keys, self._ledger.completions)

    def take_scores(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Score], set[bytes]]:
        """The same for rewards: the texts that are scored by now, and those that this job shall score."""
        return self._take(keys, self._ledger.scores)

    def keep(self, completions: Mapping[bytes, Completion], bills: Iterable[Bill]) -> None:
        """Commit finished calls and their bills, and give up the claims on them, in one transaction."""
        with self._ledger.transaction():
            self._ledger.add(completions, bills)
            self._owners.release(completions)

    def keep_scores(self, scores: Mapping[bytes, Score]) -> None:
        """Commit rewards, and give up the claims on them, in one transaction."""
        with self._ledger.transaction():
            self._ledger.add_scores(scores)
            self._owners.release(scores)

    def release(self, keys: Collection[bytes]) -> None:
        """Give up claims on what failed."""
        if keys:
            with self._ledger.transaction():
                self._owners.release(keys)

    def close(self) -> None:
        """Give up all claims."""
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        self._owners.leave()

    def _take(
        self, keys: Sequence[bytes], finished: Callable[[Sequence[bytes]], dict[bytes, V]]
    ) -> tuple[dict[bytes, V], set[bytes]]:
        wanted = list(dict.fromkeys(keys))
        before = self._ledger.version_of_others()
        found = finished(wanted)
        missing = [key for key in wanted if key not in found]
        if not missing:
            return found, set()
        with self._ledger.transaction():
            if self._ledger.version_of_others() != before:
                # Another process may have finished some of them since.
                found |= finished(missing)
            mine = self._owners.claim([key for key in missing if key not in found])
        if mine and self._heart is None:
            self._heart = Thread(target=self._beat, name="heart of the claims", daemon=True)
            self._heart.start()
        return found, mine

    def _beat(self) -> None:
        # A connection belongs to one thread at a time. A beat that a full disk swallows is no reason to stop.
        with suppress(DataError), Ledger(self._ledger.path) as ledger:
            while not self._ended.wait(BEAT_SECONDS):
                with suppress(DataError):
                    self._owners.beat(ledger)


def each_once(
    batches: list[B],
    keys_of: Callable[[B], list[bytes]],
    take: Callable[[Sequence[bytes]], tuple[dict[bytes, V], set[bytes]]],
    compute: Callable[[Iterator[tuple[B, set[bytes]]]], Iterator[tuple[B, dict[bytes, V]]]],
    kept: dict[bytes, V],
    done: Callable[[B], None],
) -> None:
    """Bring the results of all batches into `kept`, and call `done` with each batch whose results are there.

    `take` is that of a job's claims. `compute` gets batches with the keys that this job shall compute, and gives them
    back, in any order, with what it has computed and committed. It is not given what other processes compute: these
    batches wait until the results are in the ledger, or until the others have given up.
    """

    def end(batch: B, later: list[B]) -> None:
        if all(key in kept for key in keys_of(batch)):
            done(batch)
        else:
            later.append(batch)

    def open_ones(wanted: list[B], later: list[B]) -> Iterator[tuple[B, set[bytes]]]:
        for batch in wanted:
            found, mine = take([key for key in keys_of(batch) if key not in kept])
            kept.update(found)
            if mine:
                yield batch, mine
            else:
                end(batch, later)

    while batches:
        later: list[B] = []
        for batch, fresh in compute(open_ones(batches, later)):
            kept.update(fresh)
            end(batch, later)
        if len(later) == len(batches):
            time.sleep(LOOK_SECONDS)
        batches = later
