"""How well many servers are used when they fail, lag and are replaced: the real scheduler, simulated servers.

    python benchmarks/replicas.py [--replicas 64] [--requests 100000] [--seed 1]

Requests go through the `Pool` and `Retries` that a build uses, in one event loop and in real time. A simulated server
answers `SLOTS` requests at a time and queues the rest. An answer takes 0.4 s in the median, log-normally spread, and
one of a hundred takes five times as long. A twentieth of the servers is slower by half. Servers die at random: each
about once in `--life` seconds. The requests that a dying server holds fail, and for `NOTICE` seconds it refuses
connections before it leaves the pool. Another joins after `START` seconds, under a new URL.

It prints the utilisation: the seconds that servers were computing what was answered or would be, over the seconds of
all places of all servers that were in the pool, until 98 % of the requests were answered. It also prints how many
requests were lost, which must be none, and how many were answered twice.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from eva_data.models.remote.endpoints import Pool
from eva_data.models.remote.faults import Outage, Transient
from eva_data.models.remote.retries import Retries

SLOTS = 16
"""Requests that a server computes at a time."""
IN_FLIGHT = 20
"""`max_in_flight`: a few more, so that a server never waits for a request."""
MEDIAN_SECONDS, SPREAD = 0.4, 0.3
STRAGGLERS, STRAGGLE = 0.01, 5.0
SLOW_SERVERS, SLOW = 0.05, 1.5
NOTICE_SECONDS, START_SECONDS = 1.0, 5.0
COUNTED = 0.98
"""Share of the requests until whose answer the utilisation counts."""


@dataclass(eq=False)
class Server:
    """A simulated server."""

    url: str
    slowness: float
    joined: float
    left: float | None = None
    busy_seconds: float = 0.0
    begun: dict[object, float] = field(default_factory=dict)
    """When each request began that is being computed now."""
    dead: bool = False
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SLOTS))
    computing: set[asyncio.Task[None]] = field(default_factory=set)


class World:
    """Servers that come and go, and what they have answered."""

    def __init__(self, replicas: int, life: float, seed: int) -> None:
        self._random = random.Random(seed)
        self._life = life
        self._named = 0
        self.servers: dict[str, Server] = {}
        self.gone: list[Server] = []
        for _ in range(replicas):
            self._join()
        self.pool = Pool(list(self.servers), IN_FLIGHT, give_up_seconds=600, expected=replicas)
        self.answers: Counter[int] = Counter()
        self.deaths = self.failed = 0

    def _join(self) -> None:
        self._named += 1
        slowness = SLOW if self._random.random() < SLOW_SERVERS else 1.0
        url = f"http://replica-{self._named}/v1"
        self.servers[url] = Server(url, slowness, time.monotonic())

    async def live(self) -> None:
        """Let servers die at random, leave the pool, and be replaced."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(self._random.expovariate(len(self.servers) / self._life))
                group.create_task(self._die(self._random.choice(list(self.servers.values()))))

    async def _die(self, server: Server) -> None:
        if server.dead:
            return
        server.dead = True
        self.deaths += 1
        for task in list(server.computing):
            task.cancel()
        await asyncio.sleep(NOTICE_SECONDS)
        server.left = time.monotonic()
        self.gone.append(self.servers.pop(server.url))
        self.pool.change(list(self.servers))
        await asyncio.sleep(START_SECONDS)
        self._join()
        self.pool.change(list(self.servers))

    async def ask(self, number: int, url: str) -> None:
        """One request. Raise Outage if the server is dead, and Transient if it dies meanwhile."""
        server = self.servers.get(url)
        if server is None or server.dead:
            self.failed += 1
            raise Outage("cannot connect")
        work = asyncio.create_task(self._compute(server))
        server.computing.add(work)
        try:
            await work
        except asyncio.CancelledError:
            self.failed += 1
            raise Transient("the reply was cut") from None
        finally:
            server.computing.discard(work)
        self.answers[number] += 1

    async def _compute(self, server: Server) -> None:
        seconds = MEDIAN_SECONDS * server.slowness * self._random.lognormvariate(0, SPREAD)
        if self._random.random() < STRAGGLERS:
            seconds *= STRAGGLE
        async with server.slots:
            began = time.monotonic()
            work = object()
            server.begun[work] = began
            try:
                await asyncio.sleep(seconds)
                # What a server computed for an answer that it never gave was no use.
                server.busy_seconds += time.monotonic() - began
            finally:
                del server.begun[work]

    def used(self) -> tuple[float, float]:
        """Seconds of places that were at work, and seconds of all places that were in the pool, until now."""
        now, servers = time.monotonic(), [*self.servers.values(), *self.gone]
        places = SLOTS * sum((server.left or now) - server.joined for server in servers)
        busy = sum(server.busy_seconds + sum(now - began for began in server.begun.values()) for server in servers)
        return busy, places


async def measure(replicas: int, requests: int, life: float, seed: int) -> str:
    """Make all requests, and say how it went."""
    world = World(replicas, life, seed)
    retries = Retries(world.pool, pauses=(1.0, 1.0))
    places = asyncio.Semaphore(2 * world.pool.most)
    lost = 0
    until: list[tuple[float, float, float]] = []
    began = time.monotonic()

    async def one(number: int) -> None:
        nonlocal lost
        try:
            await retries.ask(partial(world.ask, number))
        except Transient:
            lost += 1
        finally:
            places.release()
        if not until and len(world.answers) >= COUNTED * requests:
            until.append((*world.used(), time.monotonic() - began))

    fate = asyncio.create_task(world.live())
    async with asyncio.TaskGroup() as group:
        for number in range(requests):
            await places.acquire()
            group.create_task(one(number))
    fate.cancel()
    busy, whole, seconds = until[0]
    twice = sum(count > 1 for count in world.answers.values())
    return (
        f"{replicas} servers of {SLOTS} places, {requests} requests in {time.monotonic() - began:.1f} s, "
        f"{world.deaths} deaths, {world.failed} failed attempts\n"
        f"utilisation until {COUNTED:.0%} of the requests ({seconds:.1f} s): {busy / whole:.1%}\n"
        f"lost {lost}, never answered {requests - len(world.answers)}, answered twice {twice}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--life", type=float, default=300.0, help="mean seconds until a server dies")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(asyncio.run(measure(given.replicas, given.requests, given.life, given.seed)))


if __name__ == "__main__":
    main()
