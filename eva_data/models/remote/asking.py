"""Gets completions out of a remote model, whatever happens on the way: attempts, further rounds, money, `n`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from eva_data.calls import GAVE_UP, Completion, Message, merge_system
from eva_data.errors import EndpointError
from eva_data.ledger import Bill, Keeper
from eva_data.models.base import refused
from eva_data.models.remote import canary
from eva_data.models.remote.budget import Price, Purse, cost, most
from eva_data.models.remote.faults import SYSTEM_ROLE, Fault, Outage, Refused, Throttled, Transient
from eva_data.models.remote.retries import Patience
from eva_data.models.remote.transport import Reply, Transport

SINGLE_REPLIES = 3
"""Replies of one choice where several were asked for, and none of several, that show that a server ignores `n`."""


@dataclass
class Asker:
    """All requests to one model, in one event loop."""

    transport: Transport
    patience: Patience
    keeper: Keeper
    purse: Purse | None
    price: Price | None
    max_tokens: int
    system: str
    """What becomes of a system message that the server refuses: keep | merge_into_user | reject."""
    bill: Bill
    """What every reply's bill has in common."""
    one_at_a_time: bool
    """Whether the server gives one choice per request; found out where it is not known."""
    finished: int = 0
    """Completions that came."""
    last_refusal: str = ""
    _several_seen: bool = False
    _single_replies: int = 0

    async def complete(
        self, messages: Sequence[Message], keys: Sequence[bytes], step_aside: Callable[[], None]
    ) -> list[Completion]:
        """A completion for every key, all of the same messages; what came is in the ledger under its key.

        A request that is given up is a failed Completion. `step_aside` is called when it first has to wait for
        more than its turn. Raises EndpointError or BudgetError where no further request makes sense.
        """
        if not self.one_at_a_time:
            return await self._until_complete(messages, keys, step_aside)
        alone = await gather([self._until_complete(messages, [key], step_aside) for key in keys])
        return [completion for (completion,) in alone]

    async def _until_complete(
        self, messages: Sequence[Message], keys: Sequence[bytes], step_aside: Callable[[], None]
    ) -> list[Completion]:
        """Ask for what is missing until every key has its completion, or the request is given up."""
        answers: dict[bytes, Completion] = {}
        while missing := [key for key in keys if key not in answers]:
            try:
                answers |= await self._some(messages, missing, step_aside)
            except Transient as fault:
                answers |= dict.fromkeys(missing, refused(f"{GAVE_UP}{fault}"))
            except Refused as fault:
                if str(fault).startswith(SYSTEM_ROLE) and messages[0]["role"] == "system":
                    if self.system == "merge_into_user":
                        messages = merge_system(messages)
                        continue
                    if self.system == "reject":
                        fault = Refused("system_role_unsupported")
                self.last_refusal = str(fault)
                answers |= dict.fromkeys(missing, refused(str(fault)))
        return [answers[key] for key in keys]

    async def _some(
        self, messages: Sequence[Message], keys: Sequence[bytes], step_aside: Callable[[], None]
    ) -> dict[bytes, Completion]:
        """What one reply brings of `keys`: all of them, or the first alone where the server knows no `n`."""
        if self.one_at_a_time or len(keys) == 1:
            return await self._persist(messages, keys[:1], step_aside)
        try:
            return await self._persist(messages, keys, step_aside)
        except Refused as fault:
            if self._several_seen or not str(fault).startswith("bad_request"):
                raise
        # Perhaps it is `n` that the server will not have: if it takes the same request without it, it is.
        answer = await self._persist(messages, keys[:1], step_aside)
        self.one_at_a_time = True
        return answer

    async def _persist(
        self, messages: Sequence[Message], keys: Sequence[bytes], step_aside: Callable[[], None]
    ) -> dict[bytes, Completion]:
        return await self.patience.ask(partial(self._ask, messages, keys), step_aside)

    async def _ask(self, messages: Sequence[Message], keys: Sequence[bytes], url: str) -> dict[bytes, Completion]:
        """One request to one server: its completions, committed before the next request may start."""
        reply, seconds = await self._paid(messages, len(keys), partial(self.transport.ask, url))
        completions = self._read(reply, keys)
        await self.keeper.keep(completions, self._bill(reply, seconds))
        self.finished += len(completions)
        self._learn(len(keys), len(reply.choices))
        return completions

    def _learn(self, asked: int, came: int) -> None:
        """Whether the server knows `n`: some take it and give one choice all the same."""
        self._several_seen |= came > 1
        if asked > 1 and came == 1 and not self._several_seen:
            self._single_replies += 1
            self.one_at_a_time |= self._single_replies >= SINGLE_REPLIES

    async def _paid(self, messages: Sequence[Message], n: int, ask: Callable[..., Any]) -> tuple[Reply, float]:
        """The reply and how long it took; with a budget, only once the dearest outcome can be paid."""
        if self.purse is None or self.price is None:
            started = time.monotonic()
            return await ask(messages, n), time.monotonic() - started
        reserved = most(self.price, messages, n, self.max_tokens)
        await self.purse.reserve(reserved)
        paid, started = reserved, time.monotonic()
        try:
            reply: Reply = await ask(messages, n)
            known = cost(self.price, reply.prompt_tokens, reply.completion_tokens)
            paid = reserved if known is None else known
            return reply, time.monotonic() - started
        except (Throttled, Outage, Refused):
            paid = 0.0
            raise
        except Transient:
            # Nobody knows what the provider bills for it, so it counts as the dearest outcome.
            lost = replace(self.bill, seconds=time.monotonic() - started, cost=reserved)
            await self.keeper.keep({}, lost)
            raise
        finally:
            self.purse.settle(reserved, paid)

    def _read(self, reply: Reply, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        # Most servers say how many tokens all choices have together, not how many each.
        of_one = reply.completion_tokens if len(reply.choices) == 1 else None
        return {
            key: Completion(
                choice.text,
                choice.finish_reason,
                reply.prompt_tokens,
                of_one if choice.tokens is None else choice.tokens,
            )
            for key, choice in zip(keys, reply.choices, strict=False)
        }

    def _bill(self, reply: Reply, seconds: float, stage: str = "") -> Bill:
        return Bill(
            model=self.bill.model,
            stage=stage or self.bill.stage,
            iteration=self.bill.iteration,
            completions=len(reply.choices),
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            seconds=seconds,
            cost=cost(self.price, reply.prompt_tokens, reply.completion_tokens),
        )

    async def greedily(self, messages: Sequence[Message]) -> str:
        """One short greedy answer, for the canary."""

        async def once(url: str) -> str:
            ask = partial(self.transport.ask, url, greedy=canary.TOKENS)
            reply, seconds = await self._paid(messages, 1, ask)
            await self.keeper.keep({}, self._bill(reply, seconds, stage="canary"))
            return reply.choices[0].text

        try:
            return await self.patience.ask(once, lambda: None)
        except Fault as found:
            raise EndpointError(f"`{self.bill.model}` does not answer a first short question: {found}") from None


async def gather(work: Sequence[Any]) -> list[Any]:
    """The results of coroutines that run at once; the first error ends them all."""
    if len(work) == 1:
        return [await work[0]]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in work]
    return [task.result() for task in tasks]
