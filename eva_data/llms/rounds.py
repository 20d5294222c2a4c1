"""Where requests that keep failing wait until all others are done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

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
