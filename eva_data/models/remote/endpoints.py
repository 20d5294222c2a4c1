"""Decides when a request goes to which server: an adaptive bound per URL, a choice by load, and a breaker.

A bound is the number of requests in flight. It is halved when the server says that it is busy. It grows by one after as
many answers as the bound itself (additive increase, multiplicative decrease, as in TCP). A server that is gone gets one
request at a time, less and less often, until it answers or has been gone for too long.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from eva_data.errors import EndpointError
from eva_data.models.remote.faults import Fault, Outage, Refused, Throttled
from eva_data.models.remote.growth import MOST, START, Growth

LONGEST_PAUSE = 30.0
"""Most seconds between two requests to a server that fails, unless it asks for more."""

FEWEST_FAILURES = 5
"""A server is given up only after at least so many failures in a row."""


@dataclass(eq=False)
class Endpoint:
    """One server: how many requests it gets at once, and how its last requests went."""

    url: str
    most: int
    limit: float
    growth: Growth | None = None
    """The search for the bound if it is `auto`, else None."""
    in_flight: int = 0
    paused_until: float = 0.0
    gone: bool = False
    """Whether the server is gone; then one request at a time tries if it is back."""
    looking: bool = False
    """Whether such a trial is under way."""
    given_up: bool = False
    failures: int = 0
    """Failures in a row."""
    setbacks: int = 0
    """Failures in a row; requests that were under way together count once."""
    set_back_at: float = 0.0
    failing_since: float = 0.0
    shrunk_at: float = 0.0
    answered: int = 0
    last_error: str = ""

    @property
    def capacity(self) -> int:
        """Number of requests that may be in flight now."""
        return 1 if self.gone else max(1, int(self.limit))

    @property
    def free(self) -> bool:
        """Whether the server may get one more request."""
        # Requests from before the server was gone may hang for long. They must not prevent a trial.
        return not self.looking if self.gone else self.in_flight < self.capacity


class Slot(NamedTuple):
    """The right to have one request in flight at an endpoint."""

    endpoint: Endpoint
    started: float
    looks: bool
    """Whether this request tries if the server is back."""


class Trouble(NamedTuple):
    """What keeps all servers from answering."""

    seconds: float
    """Since the first failure after the last answer."""
    error: str
    """The last failure, in the server's words."""
    pause: float
    """Seconds until a server is asked again."""


class Pool:
    """The servers of one model. All methods belong to one event loop."""

    def __init__(
        self,
        urls: Sequence[str],
        max_in_flight: int | Literal["auto"],
        *,
        give_up_seconds: float,
        expected: int = 0,
    ) -> None:
        """`expected` is the number of servers that there will be; it counts if there are fewer now."""
        self._max_in_flight = max_in_flight
        self._expected = expected
        self.endpoints = [self._endpoint(url) for url in urls]
        self._give_up_seconds = give_up_seconds
        self._queue: deque[asyncio.Future[Slot]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def _endpoint(self, url: str) -> Endpoint:
        if self._max_in_flight == "auto":
            return Endpoint(url, MOST, START, growth=Growth())
        return Endpoint(url, self._max_in_flight, self._max_in_flight)

    def change(self, urls: Sequence[str]) -> None:
        """Use exactly these servers from now on.

        Requests to a server that is not among them any more go on, and no further request goes there. If there is no
        server, requests wait for one.
        """
        kept = {endpoint.url: endpoint for endpoint in self.endpoints}
        self.endpoints = [kept.get(url) or self._endpoint(url) for url in urls]
        self._serve()

    @property
    def capacity(self) -> int:
        """Number of requests that may be in flight now, over all servers."""
        return sum(endpoint.capacity for endpoint in self.endpoints if not endpoint.given_up)

    @property
    def most(self) -> int:
        """Largest number of requests that can ever be in flight, over all servers."""
        missing = max(0, self._expected - len(self.endpoints))
        each = MOST if self._max_in_flight == "auto" else self._max_in_flight
        return sum(endpoint.most for endpoint in self.endpoints) + missing * each

    @property
    def answered(self) -> int:
        """Number of answers so far, over all servers."""
        return sum(endpoint.answered for endpoint in self.endpoints)

    def trouble(self) -> Trouble | None:
        """What keeps every server from answering; None if one has not failed since its last answer, or none is left."""
        used = [endpoint for endpoint in self.endpoints if not endpoint.given_up]
        if not used or not all(endpoint.failures for endpoint in used):
            return None
        now, last = time.monotonic(), max(used, key=lambda endpoint: endpoint.failing_since)
        pause = min(endpoint.paused_until for endpoint in used) - now
        return Trouble(now - last.failing_since, last.last_error, max(pause, 0.0))

    async def acquire(self) -> Slot:
        """Wait until a request may be made: first come, first served, at the server with the smallest load."""
        if not self._queue and (endpoint := self._freest()):
            return self._take(endpoint)
        turn: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._serve()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(turn.result())
            raise

    def release(self, slot: Slot, fault: Fault | None) -> None:
        """Give a slot back with the request's fault, or None. Raise EndpointError if no server is left."""
        endpoint, now = slot.endpoint, time.monotonic()
        if fault is None or isinstance(fault, Refused):
            self._answered(slot, now)
        else:
            self._failed(endpoint, fault, slot.started, now)
        self._free(slot)

    def _free(self, slot: Slot) -> None:
        slot.endpoint.in_flight -= 1
        if slot.looks:
            slot.endpoint.looking = False
        self._serve()

    def _answered(self, slot: Slot, now: float) -> None:
        endpoint = slot.endpoint
        endpoint.answered += 1
        endpoint.failures = endpoint.setbacks = 0
        if endpoint.gone:
            endpoint.gone, endpoint.paused_until = False, now
        if endpoint.growth is not None:
            endpoint.growth.answered(slot.started, now, full=endpoint.in_flight >= endpoint.capacity)
            endpoint.limit = endpoint.growth.limit
            if endpoint.growth.settled:
                endpoint.growth, endpoint.most = None, int(endpoint.limit)
        else:
            endpoint.limit = min(endpoint.most, endpoint.limit + 1 / endpoint.limit)

    def _failed(self, endpoint: Endpoint, fault: Fault, started: float, now: float) -> None:
        if endpoint.failures == 0:
            endpoint.failing_since = now
        endpoint.failures += 1
        endpoint.last_error = str(fault)
        # Requests that were under way together fail together. That says no more than one failure.
        if started >= endpoint.set_back_at:
            endpoint.setbacks, endpoint.set_back_at = endpoint.setbacks + 1, now
        pause = random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, 0.5 * 2 ** min(endpoint.setbacks, 10))
        if isinstance(fault, Throttled):
            # Requests that were sent before the bound shrank say nothing about the smaller bound.
            if started >= endpoint.shrunk_at:
                endpoint.limit, endpoint.shrunk_at, endpoint.growth = max(1.0, endpoint.limit / 2), now, None
                wait = pause if fault.retry_after is None else fault.retry_after
                endpoint.paused_until = max(endpoint.paused_until, now + wait)
            elif fault.retry_after is not None:
                endpoint.paused_until = max(endpoint.paused_until, now + fault.retry_after)
        elif isinstance(fault, Outage):
            endpoint.gone = True
            endpoint.paused_until = max(endpoint.paused_until, now + pause)
        if endpoint.failures >= FEWEST_FAILURES and now - endpoint.failing_since >= self._give_up_seconds:
            self._give_up(endpoint, now)

    def _give_up(self, endpoint: Endpoint, now: float) -> None:
        endpoint.given_up = True
        if endpoint in self.endpoints and all(other.given_up for other in self.endpoints):
            raise EndpointError(
                f"{endpoint.url} has done nothing but fail for {now - endpoint.failing_since:.0f} seconds, last with: "
                f"{endpoint.last_error}; what was finished is kept: when the server is well, run the same command again"
            )

    def _freest(self) -> Endpoint | None:
        now = time.monotonic()
        if len(self.endpoints) == 1:
            [only] = self.endpoints
            return only if not only.given_up and only.free and only.paused_until <= now else None
        ready = [
            endpoint
            for endpoint in self.endpoints
            if not endpoint.given_up and endpoint.free and endpoint.paused_until <= now
        ]
        return min(ready, key=lambda endpoint: endpoint.in_flight / endpoint.limit, default=None)

    def _take(self, endpoint: Endpoint) -> Slot:
        endpoint.in_flight += 1
        endpoint.looking |= endpoint.gone
        return Slot(endpoint, time.monotonic(), looks=endpoint.gone)

    def _serve(self) -> None:
        """Give free slots to the requests that wait, and run again when the next pause ends."""
        while self._queue:
            if self._queue[0].done():
                self._queue.popleft()
                continue
            endpoint = self._freest()
            if endpoint is None:
                self._set_alarm()
                return
            self._queue.popleft().set_result(self._take(endpoint))

    def _set_alarm(self) -> None:
        now = time.monotonic()
        pauses = [
            endpoint.paused_until - now
            for endpoint in self.endpoints
            if not endpoint.given_up and endpoint.paused_until > now
        ]
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if pauses:
            self._alarm = asyncio.get_running_loop().call_later(min(pauses) + 0.001, self._serve)
