"""Gets answers from servers that fail now and then: it waits, tries again with backoff, and makes further rounds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

from eva_data.foreign import shown_in_line
from eva_data.models.remote.endpoints import Pool
from eva_data.models.remote.faults import Fault, Outage, Throttled, Transient

T = TypeVar("T")

ATTEMPTS = 4
"""Attempts of a request in one round. Only failures count that the request itself may have caused."""
PATIENCE = 20
"""How often a request may find its server busy or gone before that counts as a failure."""
PAUSES = (10.0, 60.0)
"""Seconds before each further round: a server that fails for a minute may work after that."""
REPORT_SECONDS = 1.0
"""Seconds between two reports of the progress."""
UNTOLD_SECONDS = 5.0
"""Servers that answer again within so many seconds are not spoken of."""
_FIRST_BACKOFF, _LONGEST_BACKOFF = 0.5, 30.0
"""Most seconds between two attempts: at first, and in all. The time doubles with each attempt."""


@asynccontextmanager
async def reporting(report: Callable[[], None]) -> AsyncIterator[None]:
    """A context in which `report` is called every REPORT_SECONDS, also while nothing is answered, and at the end."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            report()

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        report()


class ChainPlace:
    """A chain's place among the chains at work. It is given up once: at the end, or when the chain must first wait."""

    def __init__(self, places: asyncio.Semaphore) -> None:
        self._places: asyncio.Semaphore | None = places

    def leave(self) -> None:
        """Give the place up, so that another chain may begin."""
        if self._places is not None:
            self._places.release()
            self._places = None


class Retries:
    """All requests to the servers of one model, in one event loop: some are at work, others wait for a further round.

    A further round begins once only waiting requests are left, after a pause.
    """

    def __init__(self, pool: Pool, pauses: Sequence[float] = PAUSES) -> None:
        self.pool = pool
        self._pauses = pauses
        self._at_work = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def waits(self) -> str:
        """For how long no server has answered, why, and when one is asked again; empty if an answer came lately."""
        trouble = self.pool.trouble()
        if trouble is None or trouble.seconds < UNTOLD_SECONDS:
            return ""
        round_in = 0.0 if self._timer is None else self._timer.when() - asyncio.get_running_loop().time()
        pause = max(trouble.pause, round_in)
        again = f", asks again in {pause:.0f} s" if pause >= 1 else ""
        return f"no answer for {trouble.seconds:.0f} s ({shown_in_line(trouble.error)}){again}"

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """In this context no further round begins, because a request is made or new requests may come."""
        self._at_work += 1
        try:
            yield
        finally:
            self._done()

    async def ask(self, once: Callable[[str], Awaitable[T]], place: ChainPlace | None = None) -> T:
        """The result of `once(url)`, which is called again as long as that may help.

        `place` is given up when the request fails for the first time. Raise the last Transient fault when there is no
        further round, a Refused at once, and EndpointError if no further request makes sense.
        """
        with self.at_work():
            for number in range(len(self._pauses) + 1):
                for attempt in range(1, ATTEMPTS + 1):
                    try:
                        return await self._attempt(once)
                    except Transient:
                        if place is not None:
                            place.leave()
                        if attempt == ATTEMPTS and number == len(self._pauses):
                            raise
                    if attempt < ATTEMPTS:
                        longest = min(_LONGEST_BACKOFF, _FIRST_BACKOFF * 2 ** (attempt - 1))
                        await asyncio.sleep(random.uniform(0, longest))
                await self._further_round(number)
        raise AssertionError("the last attempt returns or raises")

    async def _attempt(self, once: Callable[[str], Awaitable[T]]) -> T:
        """Make one attempt. A server that is busy or gone does not end it."""
        turned_away = 0
        while True:
            slot = await self.pool.acquire()
            fault: Fault | None = None
            try:
                return await once(slot.endpoint.url)
            except (Throttled, Outage) as found:
                fault = found
                turned_away += 1
                if turned_away >= PATIENCE:
                    raise
            except Fault as found:
                fault = found
                raise
            finally:
                self.pool.release(slot, fault)

    async def _further_round(self, number: int) -> None:
        """Wait for the round after round `number`, counted from 0."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, turn))
        self._done()
        try:
            await turn
        finally:
            self._at_work += 1

    def _done(self) -> None:
        self._at_work -= 1
        if self._at_work == 0 and self._waiting and self._timer is None:
            pause = self._pauses[min(number for number, _ in self._waiting)]
            self._timer = asyncio.get_running_loop().call_later(pause, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._at_work:
            # New work came meanwhile. Its end calls this again.
            return
        waiting, self._waiting = self._waiting, []
        for _, turn in waiting:
            if not turn.done():
                turn.set_result(None)
