"""Gets an answer out of servers that fail now and then: waiting, attempts with backoff, and further rounds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from eva_data.models.remote.endpoints import Pool
from eva_data.models.remote.faults import Fault, Outage, Throttled, Transient

T = TypeVar("T")

ATTEMPTS = 4
"""Of a request in one round, counting only failures that may be its own fault."""
PATIENCE = 20
"""How often a request may be turned away because its server is busy or gone, before that counts as a failure."""


@dataclass(frozen=True)
class Patience:
    """The servers of one model, and the requests that wait for a further round, in one event loop."""

    pool: Pool
    rounds: Rounds

    async def ask(self, once: Callable[[str], Awaitable[T]], step_aside: Callable[[], None]) -> T:
        """What `once(url)` brings, asked again as long as that may help.

        `step_aside` is called when it first has to wait for more than its turn. Raises the last Transient fault
        where it is given up, a Refused at once, and EndpointError where no further request makes sense.
        """
        self.rounds.enter()
        try:
            try:
                # Nearly all requests end here, at a third of what it costs to prepare for more.
                return await self._attempt(once)
            except Transient as fault:
                return await self._again(once, fault, step_aside)
        finally:
            self.rounds.leave()

    async def _again(self, once: Callable[[str], Awaitable[T]], first: Transient, step_aside: Callable[[], None]) -> T:
        """Further attempts and rounds after a first failure."""
        failed: list[Transient] = [first]

        async def attempt() -> T:
            # The first attempt of the first round has been made.
            if failed:
                raise failed.pop()
            return await self._attempt(once)

        attempts = AsyncRetrying(
            retry=retry_if_exception_type(Transient),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.5, max=30),
            before_sleep=lambda _: step_aside(),
            reraise=True,
        )
        for number in range(len(self.rounds.pauses)):
            try:
                return await attempts(attempt)
            except Transient:
                step_aside()
                await self.rounds.wait(number)
        return await attempts(attempt)

    async def _attempt(self, once: Callable[[str], Awaitable[T]]) -> T:
        """One attempt; being turned away by a server that is busy or gone does not end it."""
        turned_away = 0
        while True:
            try:
                return await self._request(once)
            except (Throttled, Outage):
                turned_away += 1
                if turned_away >= PATIENCE:
                    raise

    async def _request(self, once: Callable[[str], Awaitable[T]]) -> T:
        slot = await self.pool.acquire()
        fault: Fault | None = None
        try:
            return await once(slot.endpoint.url)
        except Fault as found:
            fault = found
            raise
        finally:
            self.pool.release(slot, fault)


PAUSES = (10.0, 60.0)
"""Seconds before each further round: what failed for a minute may work after one."""


class Rounds:
    """Knows how many requests are at work; when only waiting ones are left, a further round begins."""

    def __init__(self, pauses: Sequence[float] = PAUSES) -> None:
        self.pauses = pauses
        self._at_work = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def enter(self) -> None:
        """A request, or whoever brings new ones, begins."""
        self._at_work += 1

    def leave(self) -> None:
        """It is done."""
        self._at_work -= 1
        self._look()

    async def wait(self, round_number: int) -> None:
        """Step aside until the further round; `round_number` counts those that the request had, from 0."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((round_number, turn))
        self.leave()
        await turn
        self.enter()

    def _look(self) -> None:
        if self._at_work == 0 and self._waiting and self._timer is None:
            pause = self.pauses[min(number for number, _ in self._waiting)]
            self._timer = asyncio.get_running_loop().call_later(pause, self._begin)

    def _begin(self) -> None:
        self._timer = None
        if self._at_work:
            # New work came meanwhile; its end will look again.
            return
        waiting, self._waiting = self._waiting, []
        for _, turn in waiting:
            if not turn.done():
                turn.set_result(None)
