"""What a job has under way in a ledger that other processes use too: calls that it asks, money that they can cost.

A call is *claimed* before it is asked: a process that meets the claim of another waits for its answer. The most that
all open requests of a job can cost is *reserved*, so that no process spends what another may need.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from eva_data.calls import Completion
from eva_data.errors import BudgetError
from eva_data.ledger.owners import Owners
from eva_data.ledger.records import Bill, Ledger

BEAT_SECONDS = 2.0
LOOK_SECONDS = 0.2
"""How often a request that waits for the money of another process looks again."""


@dataclass
class _Turn:
    """What came up in one turn of the event loop; all of it is one transaction."""

    committed: asyncio.Future[None]
    completions: dict[bytes, Completion] = field(default_factory=dict)
    bills: list[Bill] = field(default_factory=list)
    released: list[bytes] = field(default_factory=list)
    again: bool = False
    """Whether some of the wanted calls were wanted before."""
    wanted: list[bytes] = field(default_factory=list)
    found: dict[bytes, Completion] = field(default_factory=dict)
    mine: set[bytes] = field(default_factory=set)


class Keeper:
    """The ledger of one job, in one event loop."""

    def __init__(self, ledger: Ledger, bill: Bill, budget: float | None = None) -> None:
        """`bill` says under which model, stage and iteration the job's money is spent."""
        self._ledger, self._budget = ledger, budget
        self._owners = Owners(ledger, bill)
        self._turn: _Turn | None = None
        self._reserved, self._open = 0.0, 0
        self._queue: list[tuple[float, asyncio.Future[None]]] = []
        self._spent, self._last_bill = 0.0, 0
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
            # What was kept last is written even if those who wait for it were cancelled.
            self._commit()
        self._owners.leave()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            self._owners.beat()

    async def claim(self, keys: Sequence[bytes], *, again: bool = False) -> tuple[dict[bytes, Completion], set[bytes]]:
        """Which of these calls are finished by now, and which others are this job's to ask.

        The rest is under way in other processes, and may be claimed again after a while. For the first time the caller
        has just looked them up in the ledger, in vain.
        """
        turn = self._this_turn()
        turn.again |= again
        turn.wanted += keys
        await asyncio.shield(turn.committed)
        found = {key: turn.found[key] for key in keys if key in turn.found}
        return found, {key for key in keys if key in turn.mine}

    def release(self, keys: Sequence[bytes]) -> None:
        """These calls came to nothing; another process may ask them."""
        self._this_turn().released += keys

    async def reserve(self, amount: float) -> None:
        """Wait until `amount` dollars are surely there; BudgetError once they are surely not.

        Exactly one `keep` or `settle` gives them back.
        """
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((amount, granted))
        self._this_turn()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled() and granted.exception() is None:
                # Granted too late for a request to be made.
                self.settle(amount)
            raise

    async def keep(self, completions: Mapping[bytes, Completion], bill: Bill, reserved: float | None = None) -> None:
        """Return once these are on disk; `reserved` is what was set aside for them."""
        turn = self._this_turn()
        turn.completions.update(completions)
        turn.bills.append(bill)
        if reserved is not None:
            self.settle(reserved)
        await asyncio.shield(turn.committed)

    def settle(self, reserved: float) -> None:
        """What was set aside is not needed any more."""
        self._open -= 1
        self._reserved = self._reserved - reserved if self._open else 0.0
        self._this_turn()

    def _this_turn(self) -> _Turn:
        if self._turn is None:
            loop = asyncio.get_running_loop()
            self._turn = _Turn(loop.create_future())
            loop.call_soon(self._commit)
        return self._turn

    def _commit(self) -> None:
        turn, self._turn = self._turn, None
        if turn is None:
            return
        granted: list[asyncio.Future[None]] = []
        refusal: BudgetError | None = None
        try:
            with self._ledger.transaction():
                self._ledger.add(turn.completions, turn.bills)
                over = [*turn.completions, *turn.released]
                self._ledger.many(
                    "DELETE FROM claims WHERE key = ? AND owner = ?", ((key, self._owners.me) for key in over)
                )
                if turn.wanted:
                    self._claim(turn)
                if self._budget is not None:
                    granted, refusal = self._grant(self._budget)
        except Exception as error:
            # Whatever it is belongs to those who wait for this commit.
            for future in (turn.committed, *(future for _, future in self._queue), *granted):
                if not future.done():
                    future.set_exception(error)
            self._queue.clear()
            # Perhaps nobody waits for it any more.
            turn.committed.exception()
            return
        turn.committed.set_result(None)
        for future in granted:
            future.set_result(None)
        if refusal is not None:
            for _, future in self._queue:
                if not future.done():
                    future.set_exception(refusal)
            self._queue.clear()

    def _claim(self, turn: _Turn) -> None:
        """Sort the wanted calls into found ones, our own and those of others, within the open transaction."""
        self._owners.join()
        wanted, me = turn.wanted, self._owners.me
        [(version,)] = self._ledger.rows("PRAGMA data_version")
        if version != self._version or turn.again:
            # Another process may have written since these calls were looked up.
            self._version = version
            turn.found = self._ledger.completions(wanted)
            wanted = [key for key in wanted if key not in turn.found]
        claims = [(key, me) for key in wanted]
        if self._ledger.many("INSERT OR IGNORE INTO claims VALUES (?, ?)", claims) == len(claims):
            turn.mine.update(wanted)
            return
        owner_of = dict(self._ledger.select("owner", "claims", wanted))
        dead = self._owners.bury(set(owner_of.values()))
        free = [key for key in wanted if owner_of[key] in dead]
        self._ledger.many("INSERT INTO claims VALUES (?, ?)", [(key, me) for key in free])
        turn.mine.update(free, (key for key in wanted if owner_of[key] == me))

    def _grant(self, budget: float) -> tuple[list[asyncio.Future[None]], BudgetError | None]:
        """Let those requests through that can be paid for, within the open transaction."""
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
                # Cancelled.
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
            f"the budget of ${budget:.2f} is used up: ${self._spent:.2f} are spent, and the next call could cost "
            f"${waiting[0][0]:.4f}; everything paid for is kept: to go on, repeat the command with a higher "
            "`--budget`"
        )

    def _look(self) -> None:
        self._looking = False
        self._this_turn()
