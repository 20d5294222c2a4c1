"""Keeps a job's calls under way, and the money that they can cost, in a ledger that other processes use too.

A call is *claimed* before it is made. A process that finds the claim of another process waits for its answer. The most
that all open requests of a job can cost is *reserved*, so that no process spends money that another may need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from eva_data.calls import Completion
from eva_data.errors import BudgetError
from eva_data.ledger.owners import BEAT_SECONDS, Owners
from eva_data.ledger.records import Bill, Ledger

LOOK_SECONDS = 0.2
"""Seconds after which a request that waits for another process's money looks again."""


@dataclass
class _Turn:
    """What came up in one turn of the event loop. It is written in one transaction."""

    loop: asyncio.AbstractEventLoop
    """Kept, since Python 3.11 asks the system for the process at each question for the running loop."""
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    """Those who wait for the commit. Each has a future of its own, so that one that is cancelled stops no other."""
    completions: dict[bytes, Completion] = field(default_factory=dict)
    bills: list[Bill] = field(default_factory=list)
    released: list[bytes] = field(default_factory=list)
    wanted: list[bytes] = field(default_factory=list)
    found: dict[bytes, Completion] = field(default_factory=dict)
    mine: set[bytes] = field(default_factory=set)


class Keeper:
    """The ledger as one job uses it, in one event loop."""

    def __init__(self, ledger: Ledger, bill: Bill, budget: float | None = None) -> None:
        """`bill` names the model, stage and iteration for which the job spends money."""
        self._ledger, self._budget = ledger, budget
        self._owners = Owners(ledger, bill)
        self._turn: _Turn | None = None
        self._reserved, self._open = 0.0, 0
        self._queue: list[tuple[float, asyncio.Future[None]]] = []
        self._spent, self._last_bill = 0.0, 0
        if budget is not None:
            ledger.sum_up()
            self._spent, self._last_bill = ledger.summed()
        self._version = -1
        self._looking = False

    async def __aenter__(self) -> Keeper:
        self._heart = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._heart.cancel()
        if self._turn is not None:
            # Write the last completions even if the tasks that wait for the commit were cancelled.
            self._commit()
        self._owners.leave()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self._owners.beat()

    async def claim(self, keys: Sequence[bytes]) -> tuple[dict[bytes, Completion], set[bytes]]:
        """The calls that are finished by now, with their completions, and the calls that this job shall make.

        The other calls are under way in other processes and may be claimed again after a while.
        """
        turn = self._this_turn()
        turn.wanted += keys
        await self._committed(turn)
        found = {key: turn.found[key] for key in keys if key in turn.found}
        return found, {key for key in keys if key in turn.mine}

    def release(self, keys: Sequence[bytes]) -> None:
        """Give up the claims on these calls, which failed, so that another process may make them."""
        self._this_turn().released += keys

    async def reserve(self, amount: float) -> None:
        """Wait until the budget certainly has `amount` dollars left. Raise BudgetError once it certainly has not.

        The caller must give them back by exactly one `keep` or `settle`.
        """
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((amount, granted))
        self._this_turn()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                # The money was granted, but the request was cancelled meanwhile.
                self.settle(amount)
            raise

    async def keep(self, completions: Mapping[bytes, Completion], bill: Bill, reserved: float | None = None) -> None:
        """Return once these completions are on disk. The `reserved` dollars that were set aside are free again."""
        turn = self._this_turn()
        turn.completions.update(completions)
        turn.bills.append(bill)
        if reserved is not None:
            self.settle(reserved)
        await self._committed(turn)

    def settle(self, reserved: float) -> None:
        """Give back dollars that were set aside and are not needed any more."""
        self._open -= 1
        self._reserved = self._reserved - reserved if self._open else 0.0
        self._this_turn()

    def _this_turn(self) -> _Turn:
        if self._turn is None:
            self._turn = _Turn(asyncio.get_running_loop())
            self._turn.loop.call_soon(self._commit)
        return self._turn

    def _committed(self, turn: _Turn) -> asyncio.Future[None]:
        future: asyncio.Future[None] = turn.loop.create_future()
        turn.waiting.append(future)
        return future

    def _commit(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None:
            return
        granted: list[asyncio.Future[None]] = []
        refusal: BudgetError | None = None
        try:
            if turn.wanted:
                turn.found = self._ledger.completions(turn.wanted)
                if len(turn.found) == len(set(turn.wanted)):
                    turn.wanted = []
            if not (turn.wanted or turn.completions or turn.bills or turn.released or self._budget is not None):
                # Everything was found, so nothing is written.
                _end(turn.waiting)
                return
            with self._ledger.transaction():
                self._ledger.add(turn.completions, turn.bills)
                self._owners.release((*turn.completions, *turn.released))
                if turn.wanted:
                    self._claim(turn)
                if self._budget is not None:
                    granted, refusal = self._grant(self._budget)
        except Exception as error:
            # Whatever the exception is, it goes to the tasks that wait for this commit.
            for future in (*turn.waiting, *(future for _, future in self._queue), *granted):
                if not future.done():
                    future.set_exception(error)
            self._queue.clear()
            return
        _end(turn.waiting)
        for future in granted:
            future.set_result(None)
        if refusal is not None:
            for _, future in self._queue:
                if not future.done():
                    future.set_exception(refusal)
            self._queue.clear()

    def _claim(self, turn: _Turn) -> None:
        """Sort the wanted calls into finished calls, our own and calls of others, within the open transaction."""
        self._owners.join()
        version = self._ledger.version_of_others()
        if version != self._version:
            # Another process may have written to the ledger since these calls were looked up.
            self._version = version
            turn.found = self._ledger.completions(turn.wanted)
        turn.mine |= self._owners.claim([key for key in dict.fromkeys(turn.wanted) if key not in turn.found])

    def _grant(self, budget: float) -> tuple[list[asyncio.Future[None]], BudgetError | None]:
        """Grant the waiting requests that can be paid for, within the open transaction."""
        others = 0.0
        if self._queue:
            self._owners.join()
            others = self._owners.reserved_by_others()
        [(fresh, last)] = self._ledger.rows(
            "SELECT coalesce(sum(cost), 0), max(rowid) FROM bills WHERE rowid > ?", (self._last_bill,)
        )
        self._spent, self._last_bill = self._spent + fresh, last or self._last_bill
        granted: list[asyncio.Future[None]] = []
        waiting: list[tuple[float, asyncio.Future[None]]] = []
        for amount, future in self._queue:
            if future.done():
                # The request was cancelled.
                continue
            if self._spent + others + self._reserved + amount <= budget:
                self._reserved, self._open = self._reserved + amount, self._open + 1
                granted.append(future)
            else:
                waiting.append((amount, future))
        self._queue = waiting
        self._owners.reserve(self._reserved)
        if not waiting or self._open:
            return granted, None
        if others:
            if not self._looking:
                self._looking = True
                asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)
            return granted, None
        return granted, BudgetError(
            f"the budget of {_dollars(budget)} is used up: {_dollars(self._spent)} are spent, and the next call could "
            f"cost ${waiting[0][0]:.4f}; everything paid for is kept: to go on, repeat the command with a higher "
            "`--budget`"
        )

    def _look(self) -> None:
        self._looking = False
        self._this_turn()


def _end(waiting: Sequence[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)


def _dollars(amount: float) -> str:
    """`$0.30`; six decimals for an amount below ten cents."""
    return f"${amount:.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.6f}"
