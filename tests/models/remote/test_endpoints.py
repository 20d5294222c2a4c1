"""The pool of servers: which server gets a request, and when. In real time, except for the search of a bound."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Literal

import pytest

from eva_data.errors import EndpointError
from eva_data.models.remote import endpoints
from eva_data.models.remote.endpoints import Pool, Slot
from eva_data.models.remote.faults import Outage, Refused, Throttled, Transient
from eva_data.models.remote.growth import MOST

A, B = "http://a/v1", "http://b/v1"


def in_pool(
    work: Callable[[Pool], Awaitable[Any]], *urls: str, bound: int | Literal["auto"] = 2, give_up_seconds: float = 60
) -> Any:
    """The result of `work` with a pool of these servers."""

    async def main() -> Any:
        return await work(Pool(urls, bound, give_up_seconds=give_up_seconds))

    return asyncio.run(main())


async def slots(pool: Pool, count: int) -> list[Slot]:
    return [await pool.acquire() for _ in range(count)]


def url_of(slot: Slot) -> str:
    return slot.endpoint.url


def test_each_request_goes_to_the_server_with_the_smallest_load() -> None:
    async def work(pool: Pool) -> list[str]:
        first = await slots(pool, 4)
        pool.release(first[1], None)
        pool.release(first[3], None)
        pool.release(first[0], None)
        return [url_of(slot) for slot in [*first, *await slots(pool, 3)]]

    # a b a b are taken; both of b and one of a are given back: b has no load, then as much as a.
    assert in_pool(work, A, B) == [A, B, A, B, B, A, B]


def test_load_is_measured_by_what_a_server_can_bear() -> None:
    async def work(pool: Pool) -> list[str]:
        pool.endpoints[1].limit = 2
        return [url_of(slot) for slot in await slots(pool, 10)]

    # 8 fit to a and 2 to b: after the first two, b is next when a is at half its bound.
    assert in_pool(work, A, B, bound=8) == [A, B, A, A, A, A, B, A, A, A]


def test_who_waits_is_served_in_order_and_not_beyond_the_bound() -> None:
    async def work(pool: Pool) -> tuple[list[int], int]:
        order: list[int] = []
        most = 0

        async def request(number: int) -> None:
            nonlocal most
            slot = await pool.acquire()
            most = max(most, slot.endpoint.in_flight)
            order.append(number)
            await asyncio.sleep(0)
            pool.release(slot, None)

        await asyncio.gather(*(request(number) for number in range(20)))
        return order, most

    assert in_pool(work, A, bound=3) == (list(range(20)), 3)


def test_one_that_is_cancelled_while_it_waits_takes_no_slot_with_it() -> None:
    async def work(pool: Pool) -> int:
        slot = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        # Its turn comes and it is cancelled in the same moment.
        pool.release(slot, None)
        waiting[1].cancel()
        last = await waiting[2]
        return last.endpoint.in_flight

    assert in_pool(work, A, bound=1) == 1


def test_a_busy_server_gets_half_as_many_once_for_all_that_were_in_flight_and_then_one_more_per_bound() -> None:
    async def work(pool: Pool) -> list[float]:
        (endpoint,) = pool.endpoints
        limits = []
        for slot in await slots(pool, 8):
            pool.release(slot, Throttled("HTTP 429", 0.01))
        limits.append(endpoint.limit)
        for slot in await slots(pool, 4):
            pool.release(slot, Throttled("HTTP 503", 0.01))
        limits.append(endpoint.limit)
        for answers in (2, 1, 1, 100):
            for _ in range(answers):
                pool.release(await pool.acquire(), None)
            limits.append(round(endpoint.limit, 2))
        return limits

    # 8 halved, 4 halved, then 2 + 1/2 + 1/2.5, + 1/2.9, + 1/3.24, and never more than it was told.
    assert in_pool(work, A, bound=8) == [4, 2, 2.9, 3.24, 3.55, 8]


def test_a_busy_server_is_left_alone_as_long_as_it_says_and_the_others_go_on() -> None:
    async def work(pool: Pool) -> tuple[list[str], float]:
        first = await slots(pool, 2)
        pool.release(first[0], Throttled("HTTP 429", 0.3))
        pool.release(first[1], None)
        started = time.monotonic()
        meanwhile = [url_of(slot) for slot in await slots(pool, 2)]
        last = await pool.acquire()
        return [*meanwhile, url_of(last)], time.monotonic() - started

    urls, waited = in_pool(work, A, B)
    assert urls == [B, B, A]
    assert waited >= 0.3


def test_a_server_that_is_gone_is_asked_by_one_request_at_a_time_until_it_answers() -> None:
    async def work(pool: Pool) -> list[int]:
        (endpoint,) = pool.endpoints
        found = []
        for slot in await slots(pool, 4):
            pool.release(slot, Outage("cannot connect"))
        endpoint.paused_until = 0
        probe = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(6)]
        await asyncio.sleep(0)
        found.append(endpoint.in_flight)
        pool.release(probe, None)
        await asyncio.sleep(0)
        found.append(endpoint.in_flight)
        for task in waiting:
            task.cancel()
        return found

    assert in_pool(work, A, bound=4) == [1, 4]


def test_many_requests_that_fail_at_once_pause_a_server_no_longer_than_one() -> None:
    async def work(pool: Pool) -> float:
        for slot in await slots(pool, 64):
            pool.release(slot, Outage("cannot connect"))
        return pool.endpoints[0].paused_until - time.monotonic()

    assert in_pool(work, A, bound=64) <= 1


def test_a_dead_server_of_two_is_given_up_and_the_other_does_all() -> None:
    async def work(pool: Pool) -> list[Any]:
        dead, well = pool.endpoints
        for _ in range(5):
            dead.paused_until = 0
            for slot in await slots(pool, 2):
                pool.release(slot, Outage("cannot connect") if slot.endpoint is dead else None)
        dead.paused_until = 0
        return [dead.given_up, well.given_up, pool.capacity, *(url_of(slot) for slot in await slots(pool, 2))]

    assert in_pool(work, A, B, give_up_seconds=0) == [True, False, 2, B, B]


def test_the_last_server_that_only_fails_raises_what_it_failed_with() -> None:
    async def work(pool: Pool) -> None:
        for _ in range(5):
            pool.release(await pool.acquire(), Transient("HTTP 500: out of memory"))

    with pytest.raises(EndpointError, match=r"http://a/v1 has done nothing but fail for 0 seconds.*500: out of memory"):
        in_pool(work, A, give_up_seconds=0)


def test_an_answer_or_a_refusal_of_one_prompt_shows_that_a_server_is_alive() -> None:
    async def work(pool: Pool) -> int:
        for fault in (*[Transient("500")] * 4, Refused("context_length_exceeded"), *[Transient("500")] * 4, None):
            pool.release(await pool.acquire(), fault)
        return pool.answered

    assert in_pool(work, A, give_up_seconds=0) == 2


def test_a_server_is_not_given_up_before_its_time_however_often_it_fails() -> None:
    async def work(pool: Pool) -> bool:
        for _ in range(500):
            pool.release(await pool.acquire(), Transient("500"))
        return pool.endpoints[0].given_up

    assert in_pool(work, A, give_up_seconds=60) is False


class Stepped(selectors.DefaultSelector):
    """A loop that never waits. Its clock jumps to the next timer, so the speed of the machine does not matter."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0
        return super().select(0)


def test_auto_grows_while_more_requests_make_the_server_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> tuple[int, bool]:
        pool = Pool([A], "auto", give_up_seconds=60)
        # A server that works on 16 requests at once and lets the others wait.
        workers = asyncio.Semaphore(16)

        async def request() -> None:
            slot = await pool.acquire()
            async with workers:
                await asyncio.sleep(0.1)
            pool.release(slot, None)

        await asyncio.gather(*(request() for _ in range(600)))
        return pool.endpoints[0].capacity, pool.endpoints[0].growth is not None

    selector = Stepped()
    loop = asyncio.SelectorEventLoop(selector)
    monkeypatch.setattr(loop, "time", lambda: selector.now)
    monkeypatch.setattr(endpoints, "time", SimpleNamespace(monotonic=lambda: selector.now))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        capacity, growing = runner.run(work())
    # 8, 12, 18, 27, 40: neither 27 nor 40 are faster than 18.
    assert 16 <= capacity <= 27
    assert growing is False


def test_auto_shrinks_where_the_server_is_busy() -> None:
    async def work(pool: Pool) -> tuple[int, bool]:
        pool.release(await pool.acquire(), Throttled("HTTP 429", 0))
        return pool.endpoints[0].capacity, pool.endpoints[0].growth is not None

    assert in_pool(work, A, bound="auto") == (4, False)


def test_a_server_that_joins_gets_the_requests_that_wait() -> None:
    async def work(pool: Pool) -> list[str]:
        waiting = asyncio.gather(*(pool.acquire() for _ in range(4)))
        await asyncio.sleep(0)
        pool.change([A, B])
        return sorted(url_of(slot) for slot in await waiting)

    # No server is there at first, so all four requests wait.
    assert in_pool(work) == [A, A, B, B]


def test_a_server_that_leaves_gets_no_further_request_and_its_last_answers_count() -> None:
    async def work(pool: Pool) -> list[str]:
        first = await slots(pool, 4)
        pool.change([B])
        waiting = asyncio.create_task(pool.acquire())
        await asyncio.sleep(0)
        for slot in first[::2]:
            pool.release(slot, None)
        await asyncio.sleep(0)
        assert not waiting.done()
        pool.release(first[1], None)
        return [url_of(slot) for slot in [*first, await waiting]]

    assert in_pool(work, A, B) == [A, B, A, B, B]


def test_a_server_that_failed_until_it_left_ends_nothing() -> None:
    async def work(pool: Pool) -> int:
        for number in range(5):
            pool.endpoints[0].gone, pool.endpoints[0].paused_until = False, 0.0
            slot = await pool.acquire()
            if number == 4:
                pool.change([])
            pool.release(slot, Outage("cannot connect"))
        return len(pool.endpoints)

    # The fifth failure in a row would raise EndpointError if the server were still there.
    assert in_pool(work, A, give_up_seconds=0) == 0


def test_servers_that_are_still_expected_count_for_the_most_requests() -> None:
    assert Pool([A], 8, give_up_seconds=60, expected=3).most == 24
    assert Pool([], "auto", give_up_seconds=60, expected=2).most == 2 * MOST
