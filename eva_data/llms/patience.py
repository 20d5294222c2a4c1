"""Gets an answer out of servers that fail now and then: waiting, attempts with backoff, and further rounds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from eva_data.llms.endpoints import Pool
from eva_data.llms.faults import Fault, Outage, Throttled, Transient
from eva_data.llms.rounds import Rounds

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
