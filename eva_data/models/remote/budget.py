"""What calls cost, and the budget that they must not exceed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eva_data.calls import Message
from eva_data.errors import BudgetError

Price = tuple[float, float]
"""Dollars per million tokens, in and out."""


def cost(price: Price | None, prompt_tokens: int | None, completion_tokens: int | None) -> float | None:
    """Dollars of a reply; null where the price or a number of tokens is unknown."""
    if price == (0.0, 0.0):
        return 0.0
    if price is None or prompt_tokens is None or completion_tokens is None:
        return None
    return (price[0] * prompt_tokens + price[1] * completion_tokens) / 1e6


def most(price: Price, messages: Sequence[Message], n: int, max_tokens: int) -> float:
    """The most that a request can cost: no token is shorter than a byte, and a turn's frame has under 32 tokens."""
    prompt = sum(len(message["content"].encode("utf-8", "replace")) + 32 for message in messages)
    return (price[0] * prompt + price[1] * n * max_tokens) / 1e6


class Purse:
    """Money for one run: a request is let through only if the dearest outcome of all in flight can be paid."""

    def __init__(self, budget: float, spent: float) -> None:
        self._budget, self._spent, self._reserved = budget, spent, 0.0
        self._open = 0
        self._settled = asyncio.Event()

    async def reserve(self, amount: float) -> None:
        """Wait until `amount` is surely there; BudgetError once it is surely not."""
        while self._spent + self._reserved + amount > self._budget:
            if not self._open:
                raise BudgetError(
                    f"the budget of ${self._budget:.2f} is used up: ${self._spent:.2f} are spent, and the next call "
                    f"could cost ${amount:.4f}; everything paid for is kept: to go on, repeat the command with a "
                    "higher `--budget`"
                )
            self._settled.clear()
            await self._settled.wait()
        self._open += 1
        self._reserved += amount

    def settle(self, reserved: float, paid: float) -> None:
        """What was reserved for a request became `paid`."""
        self._open -= 1
        self._reserved = self._reserved - reserved if self._open else 0.0
        self._spent += paid
        self._settled.set()
