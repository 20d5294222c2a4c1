"""Commits finished calls to the ledger, those of one moment in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from eva_data.calls import Completion
from eva_data.ledger import Bill, Ledger


class Keeper:
    """The ledger of one event loop."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._completions: dict[bytes, Completion] = {}
        self._bills: list[Bill] = []
        self._committed: asyncio.Future[None] | None = None

    async def keep(self, completions: Mapping[bytes, Completion], bill: Bill) -> None:
        """Return once these are on disk; replies that come in the same turn of the loop share the commit."""
        self._completions.update(completions)
        self._bills.append(bill)
        if self._committed is None:
            loop = asyncio.get_running_loop()
            self._committed = loop.create_future()
            loop.call_soon(self._commit)
        await asyncio.shield(self._committed)

    def _commit(self) -> None:
        completions, bills, committed = self._completions, self._bills, self._committed
        self._completions, self._bills, self._committed = {}, [], None
        assert committed is not None
        try:
            self._ledger.keep_completions(completions, bills)
        except Exception as error:
            # Whatever it is belongs to those who wait for this commit.
            committed.set_exception(error)
        else:
            committed.set_result(None)
