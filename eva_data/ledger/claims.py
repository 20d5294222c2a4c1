"""Claims the calls that a job computes by itself, so that no other process computes them at the same time.

`keeper` does the same for calls that a server answers, in an event loop and with a budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Event, Thread

from eva_data.calls import Completion
from eva_data.errors import DataError
from eva_data.ledger.owners import BEAT_SECONDS, Owners
from eva_data.ledger.records import Bill, Ledger


class Claims:
    """The claims of one job. While it holds some, a thread tells other processes that the job is alive."""

    def __init__(self, ledger: Ledger, bill: Bill) -> None:
        """`bill` names the model, stage and iteration for which the job computes."""
        self._ledger = ledger
        self._owners = Owners(ledger, bill)
        self._ended = Event()
        self._heart: Thread | None = None

    def take(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Completion], set[bytes]]:
        """The calls that are finished by now, with their completions, and the calls that this job shall compute.

        The other calls are under way in other processes, and may be asked for again after a while.
        """
        wanted = list(dict.fromkeys(keys))
        found = self._ledger.completions(wanted)
        if len(found) == len(wanted):
            return found, set()
        with self._ledger.transaction():
            # Another process may have finished some of them since.
            found |= self._ledger.completions([key for key in wanted if key not in found])
            mine = self._owners.claim([key for key in wanted if key not in found])
        if mine and self._heart is None:
            self._heart = Thread(target=self._beat, name="heart of the claims", daemon=True)
            self._heart.start()
        return found, mine

    def keep(self, completions: Mapping[bytes, Completion], bills: Iterable[Bill]) -> None:
        """Commit finished calls and their bills, and give up the claims on them, in one transaction."""
        with self._ledger.transaction():
            self._ledger.add(completions, bills)
            self._owners.release(completions)

    def close(self) -> None:
        """Give up all claims."""
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        self._owners.leave()

    def _beat(self) -> None:
        # A connection belongs to one thread at a time. A beat that a full disk swallows is no reason to stop.
        with suppress(DataError), Ledger(self._ledger.path) as ledger:
            while not self._ended.wait(BEAT_SECONDS):
                with suppress(DataError):
                    self._owners.beat(ledger)
