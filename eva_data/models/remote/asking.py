"""Everything between a step that needs completions and a request: one class, to read from top to bottom."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from eva_data.calls import GAVE_UP, Chain, Completion, Message, Request, T, merge_system
from eva_data.errors import EndpointError
from eva_data.ledger import Keeper
from eva_data.models.base import refused
from eva_data.models.remote import canary
from eva_data.models.remote.budget import Purse
from eva_data.models.remote.faults import SYSTEM_ROLE, Fault, NotGreedy, Refusals, Refused, Transient
from eva_data.models.remote.retries import ChainPlace, Retries
from eva_data.models.remote.transport import Transport

SINGLE_REPLIES = 3
"""A server ignores `n` if so many replies to requests for several choices held one choice, and none held several."""

SHORTEST_LOOK, LONGEST_LOOK = 0.1, 2.0
"""Seconds until the ledger is read again for a call that another process makes: at first, and at most."""

OPEN_SHARDS = 2
"""Shards that are under way or not yet taken: one that still waits for its last answers, and the next one."""

Found = dict[bytes, Completion]
"""Completions by their ledger key."""


@dataclass
class _Shard:
    """What became of the requests of a shard."""

    answered: int = 0
    failure: str = ""
    """Why the last unanswered request was given up, or was refused as a bad one; empty if there is none."""

    def note(self, answers: Sequence[Completion]) -> None:
        for answer in answers:
            if answer.text is not None:
                self.answered += 1
            elif answer.error and answer.error.startswith((GAVE_UP, "bad_request")):
                self.failure = answer.error.removeprefix(GAVE_UP)


@dataclass
class Asker:
    """All requests of one job to one model, in one event loop.

    A chain comes in at `run` and takes four steps. `_follow` drives it. `_answer` looks for each answer in the ledger
    and among the requests under way. `_complete` asks for each missing answer until it is there or given up.
    `_request` is one request to one server; its answers are paid for and committed before they are used.
    """

    transport: Transport
    retries: Retries
    keeper: Keeper
    purse: Purse
    system: str
    """What happens to a system message that the server refuses: keep | merge_into_user | reject."""
    one_at_a_time: bool
    """Whether the server gives only one choice per request. If it is not known, it is found out."""
    key: Callable[[Request], bytes]
    too_long: Callable[[Sequence[Message]], Completion | None]
    done: int = 0
    """Number of requests that were answered or given up so far."""
    refusals: Refusals = field(default_factory=Refusals)
    _asking: dict[bytes, asyncio.Future[Completion]] = field(default_factory=dict)
    """Calls under way in this process."""
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _several_seen: bool = False
    _single_replies: int = 0

    async def run(self, shards: Iterator[Iterable[Chain[T]]], deliver: Callable[[list[T]], Awaitable[None]]) -> None:
        """Drive the chains of all shards to their end, and deliver the results of each shard, in order.

        The chains of the next shard begin while the last ones of a shard wait for answers. At most OPEN_SHARDS shards
        have begun and are not delivered. Raise EndpointError or BudgetError if no further request makes sense.
        """
        self._loop = asyncio.get_running_loop()
        # There are twice as many chains as requests in flight, so that a free slot never waits for a chain.
        places = asyncio.Semaphore(2 * self.retries.pool.most + 16)
        room = asyncio.Semaphore(OPEN_SHARDS)
        before: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                await room.acquire()
                chains = next(shards, None)
                if chains is None:
                    return
                shard, tasks = _Shard(), list[asyncio.Task[T]]()
                with self.retries.at_work():
                    for chain in chains:
                        await places.acquire()
                        tasks.append(group.create_task(self._follow(chain, ChainPlace(places), shard)))
                before = group.create_task(self._deliver(tasks, shard, before, deliver, room))

    async def _deliver(
        self,
        tasks: list[asyncio.Task[T]],
        shard: _Shard,
        before: asyncio.Task[None] | None,
        deliver: Callable[[list[T]], Awaitable[None]],
        room: asyncio.Semaphore,
    ) -> None:
        """Deliver the results of a shard once they are there and the shard `before` is delivered."""
        results = [await task for task in tasks]
        tasks.clear()
        if not shard.answered and shard.failure:
            raise EndpointError(
                f"not one request to `{self.transport.model}` was answered, the last failed with: {shard.failure}"
            )
        if before is not None:
            await before
        await deliver(results)
        room.release()

    async def _follow(self, chain: Chain[T], place: ChainPlace, shard: _Shard) -> T:
        """Drive one chain to its end."""
        answers: list[Completion] | None = None
        while True:
            try:
                # A generator starts when it is sent None.
                requests = chain.send(answers)  # type: ignore[arg-type]
            except StopIteration as finished:
                place.leave()
                result: T = finished.value
                return result
            answers = await self._answer(requests, place)
            shard.note(answers)
            self.done += len(requests)

    async def _answer(self, requests: Sequence[Request], place: ChainPlace) -> list[Completion]:
        """One completion per request, in order, from the ledger if it has them."""
        keys = [self.key(request) for request in requests]
        answers: Found = {}
        under_way: dict[bytes, asyncio.Future[Completion]] = {}
        missing: dict[bytes, Request] = {}
        for request, key in zip(requests, keys, strict=True):
            if key in self._asking:
                # Another chain makes this call, or this chain makes it twice.
                under_way[key] = self._asking[key]
            else:
                self._asking[key] = self._loop.create_future()
                missing[key] = request
        pause = SHORTEST_LOOK
        while missing:
            found = await self._ask_or_find(missing, place)
            for key, completion in found.items():
                del missing[key]
                self._asking.pop(key).set_result(completion)
            answers |= found
            if missing:
                # Another process makes these calls.
                place.leave()
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_LOOK)
        for key, future in under_way.items():
            answers[key] = await future
        return [answers[key] for key in keys]

    async def _ask_or_find(self, missing: Mapping[bytes, Request], place: ChainPlace) -> Found:
        """Make the calls that no other process makes. Return their completions and those that are finished by now."""
        found, mine = await self.keeper.claim([*missing])
        if not mine:
            return found
        # Samples of the same messages share a request. The same messages are the same object.
        groups: dict[tuple[int, str], list[bytes]] = {}
        for key, request in missing.items():
            if key in mine:
                groups.setdefault((id(request.messages), request.salt), []).append(key)
        for answered in await _all(
            [self._complete(missing[group[0]].messages, group, place) for group in groups.values()]
        ):
            found |= answered
            failed = [key for key, completion in answered.items() if completion.text is None]
            if failed:
                self.keeper.release(failed)
        return found

    async def _complete(self, messages: Sequence[Message], keys: Sequence[bytes], place: ChainPlace) -> Found:
        """A completion for every key, all for the same messages; a failed completion if a request is given up."""
        if (too_long := self.too_long(messages)) is not None:
            return dict.fromkeys(keys, too_long)
        if self.one_at_a_time and len(keys) > 1:
            alone = await _all([self._complete(messages, [key], place) for key in keys])
            return {key: completion for found in alone for key, completion in found.items()}
        answers: Found = {}
        suspect_n = False
        while missing := [key for key in keys if key not in answers]:
            asked = missing[:1] if self.one_at_a_time or suspect_n else missing
            try:
                answers |= await self.retries.ask(partial(self._request, messages, asked), place)
                # The server refused this request with `n` and accepts it without.
                self.one_at_a_time |= suspect_n
            except Transient as fault:
                answers |= dict.fromkeys(missing, refused(f"{GAVE_UP}{fault}"))
            except Refused as fault:
                if len(asked) > 1 and not self._several_seen and str(fault).startswith("bad_request"):
                    suspect_n = True
                    continue
                if str(fault).startswith(SYSTEM_ROLE) and messages[0]["role"] == "system":
                    if self.system == "merge_into_user":
                        messages, suspect_n = merge_system(messages), False
                        continue
                    if self.system == "reject":
                        fault = Refused("system_role_unsupported")
                self.refusals.note(str(fault), self.transport.model)
                answers |= dict.fromkeys(missing, refused(str(fault)))
        return answers

    async def _request(self, messages: Sequence[Message], keys: Sequence[bytes], url: str) -> Found:
        """Make one request to one server, and return its completions once they are committed."""
        reply, bill, reserved = await self.purse.paid(messages, len(keys), partial(self.transport.ask, url))
        # Most servers only give the sum of the tokens of all choices.
        of_one = reply.completion_tokens if len(reply.choices) == 1 else None
        completions = {
            key: Completion(
                choice.text,
                choice.finish_reason,
                reply.prompt_tokens,
                of_one if choice.tokens is None else choice.tokens,
                first_token=choice.first_token,
            )
            for key, choice in zip(keys, reply.choices, strict=False)
        }
        await self.keeper.keep(completions, bill, reserved)
        self.refusals.in_a_row = 0
        # Find out if the server knows `n`: some servers accept it and still give one choice.
        self._several_seen |= len(reply.choices) > 1
        if len(keys) > 1 and len(reply.choices) == 1 and not self._several_seen:
            self._single_replies += 1
            self.one_at_a_time |= self._single_replies >= SINGLE_REPLIES
        return completions

    async def greedily(self, messages: Sequence[Message]) -> str | None:
        """One short greedy answer, for the canary; None if the model has none to give."""

        async def once(url: str) -> str:
            ask = partial(self.transport.ask, url, greedy=canary.TOKENS)
            reply, bill, reserved = await self.purse.paid(messages, 1, ask, stage="canary")
            await self.keeper.keep({}, bill, reserved)
            return reply.choices[0].text

        try:
            return await self.retries.ask(once)
        except NotGreedy:
            return None
        except Fault as found:
            raise EndpointError(f"`{self.transport.model}` does not answer a first short question: {found}") from None


async def _all(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines at once and return their results; the first error ends them all."""
    if len(work) == 1:
        # A task would cost a tenth of a request.
        return [await work[0]]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]
