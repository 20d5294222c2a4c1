"""Computes what calls cost and can cost at most, and keeps them within the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from eva_data.calls import Message
from eva_data.ledger import Bill, Keeper
from eva_data.models.remote.faults import Fault, Outage, Refused, Throttled
from eva_data.models.remote.transport import Reply

Price = tuple[float, float]
"""Dollars per million tokens of the prompt, and of the response."""


def cost(price: Price | None, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
    """The dollars of a reply; None if the price or a number of tokens is unknown."""
    if price == (0.0, 0.0):
        return 0.0
    if price is None or prompt_tokens is None or completion_tokens is None:
        return None
    return (price[0] * prompt_tokens + price[1] * completion_tokens) / 1e6


def most(price: Price, messages: Sequence[Message], n: int, max_tokens: int) -> float:
    """The most dollars that a request can cost: a token has at least a byte, and a turn's frame under 32 tokens."""
    prompt = sum(len(message["content"].encode("utf-8", "replace")) + 32 for message in messages)
    return (price[0] * prompt + price[1] * n * max_tokens) / 1e6


@dataclass(frozen=True)
class Purse:
    """The money of one job. Several processes may spend from the same budget."""

    keeper: Keeper
    bill: Bill
    """The common part of the bills of all replies."""
    price: Price | None
    max_tokens: int
    limited: bool
    """Whether a request waits until its highest possible cost can be paid."""

    async def paid(
        self, messages: Sequence[Message], n: int, ask: Callable[..., Coroutine[Any, Any, Reply]], stage: str = ""
    ) -> tuple[Reply, Bill, float | None]:
        """The reply of `ask`, its bill, and the dollars that stay reserved until both are kept, else None.

        Raise BudgetError if the highest possible cost is more than is left.
        """
        reserved: float | None = None
        if self.limited and self.price is not None:
            reserved = most(self.price, messages, n, self.max_tokens)
            await self.keeper.reserve(reserved)
        started = time.monotonic()
        try:
            reply = await ask(messages, n)
        except Fault as fault:
            if reserved is not None:
                if isinstance(fault, Throttled | Outage | Refused):
                    self.keeper.settle(reserved)
                else:
                    # Nobody knows what the provider bills for it, so it counts as the highest possible cost.
                    lost = replace(self.bill, seconds=time.monotonic() - started, cost=reserved)
                    await self.keeper.keep({}, lost, reserved)
            raise
        known = cost(self.price, reply.prompt_tokens, reply.completion_tokens)
        # dataclasses.replace takes three times as long, and this runs for every reply.
        bill = Bill(
            model=self.bill.model,
            stage=stage or self.bill.stage,
            iteration=self.bill.iteration,
            completions=len(reply.choices),
            prompt_tokens=reply.prompt_tokens,
            completion_tokens=reply.completion_tokens,
            seconds=time.monotonic() - started,
            # A reply without a count of tokens may have cost the highest amount.
            cost=reserved if known is None else known,
        )
        return reply, bill, reserved
