"""The jobs that use a ledger at the same time: which of them are alive, and what dead jobs left behind.

Each job is an *owner*. Its row names its process and holds a beat, a number that the job counts up. If a job was
killed, others clear its row: its claims are free, and its open requests count as paid at their highest possible cost,
since nobody knows what a provider bills for them.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from eva_data.ledger.records import Bill, Ledger

BEAT_SECONDS = 2.0
LOOK_SECONDS = 5.0
"""Seconds in which the beat of a job that is alive goes on at least once."""
DEAD_SECONDS = 60.0
"""If an owner's beat stands still for so many seconds of watching, the owner is dead, whatever its process does."""


class Owners:
    """One owner, `me`, and its view of the others. All methods but `leave` and `beat` need an open transaction."""

    def __init__(self, ledger: Ledger, bill: Bill) -> None:
        self._ledger, self._bill = ledger, bill
        self.me = uuid4().hex
        self._joined = False
        self._reserved = 0.0
        self._beats: dict[str, tuple[int, float]] = {}
        """Other owner -> its last beat, and when this beat was first seen."""

    def join(self) -> None:
        """Add this owner's row, so that others see it, and clear what dead owners left."""
        if not self._joined:
            self.bury([owner for (owner,) in self._ledger.rows("SELECT owner FROM owners")])
            pid = os.getpid()
            which = (self.me, _machine(), pid, _started(pid) or 0.0, 0, 0.0)
            what = (self._bill.model, self._bill.stage, self._bill.iteration)
            self._ledger.rows("INSERT INTO owners VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", (*which, *what))
            self._joined = True

    def leave(self) -> None:
        """Remove this owner. Its open requests may have been billed, so they count as paid."""
        if self._joined:
            with self._ledger.transaction():
                self._clear(self.me)

    def claim(self, keys: Sequence[bytes]) -> set[bytes]:
        """Claim calls that are not finished. Return those that are this job's; others are under way elsewhere."""
        self.join()
        if self._ledger.many("INSERT OR IGNORE INTO claims VALUES (?, ?)", self._claims(keys)) == len(keys):
            return set(keys)
        owner_of = dict(self._ledger.select("owner", "claims", keys))
        dead = self.bury(set(owner_of.values()))
        free = [key for key in keys if owner_of[key] in dead]
        self._ledger.many("INSERT INTO claims VALUES (?, ?)", self._claims(free))
        return {*free, *(key for key in keys if owner_of[key] == self.me)}

    def release(self, keys: Iterable[bytes]) -> None:
        """Give up this job's claims on these calls."""
        self._ledger.many("DELETE FROM claims WHERE key = ? AND owner = ?", self._claims(keys))

    def _claims(self, keys: Iterable[bytes]) -> list[tuple[bytes, str]]:
        return [(key, self.me) for key in keys]

    def beat(self, ledger: Ledger | None = None) -> None:
        """Count up, so that others see that this job is alive. A thread of its own brings its own `ledger`."""
        if self._joined:
            (ledger or self._ledger).rows("UPDATE owners SET beat = beat + 1 WHERE owner = ?", (self.me,))

    def reserve(self, amount: float) -> None:
        """Record how many dollars this job's open requests can cost in all."""
        if amount != self._reserved:
            self._reserved = amount
            self._ledger.rows("UPDATE owners SET reserved = ? WHERE owner = ?", (amount, self.me))

    def reserved_by_others(self) -> float:
        """The dollars that the open requests of all other living jobs can cost."""
        found = dict(self._ledger.rows("SELECT owner, reserved FROM owners WHERE owner != ?", (self.me,)))
        dead = self.bury(found)
        return float(sum(reserved for owner, reserved in found.items() if owner not in dead))

    def bury(self, owners: Iterable[str]) -> set[str]:
        """Clear and return the dead among these owners: their claims are free, and their open requests are billed."""
        dead = {owner for owner in owners if owner != self.me and self._is_dead(owner)}
        for owner in dead:
            self._clear(owner)
        return dead

    def _clear(self, owner: str) -> None:
        for model, stage, iteration, reserved in self._ledger.rows(
            "SELECT model, stage, iteration, reserved FROM owners WHERE owner = ? AND reserved > 0", (owner,)
        ):
            lost = replace(self._bill, model=model, stage=stage, iteration=iteration, seconds=0.0, cost=reserved)
            self._ledger.add({}, [lost])
        self._ledger.rows("DELETE FROM claims WHERE owner = ?", (owner,))
        self._ledger.rows("DELETE FROM owners WHERE owner = ?", (owner,))

    def _is_dead(self, owner: str) -> bool:
        """Whether an owner's process is gone, or its beat has stood still for too long."""
        found = self._ledger.rows("SELECT machine, pid, started, beat FROM owners WHERE owner = ?", (owner,))
        if not found:
            return True
        [(machine, pid, started, beat)] = found
        if machine == _machine() and abs((_started(pid) or 0.0) - started) > 1:
            return True
        seen, since = self._beats.get(owner, (-1, 0.0))
        if beat != seen:
            self._beats[owner] = (beat, time.monotonic())
            return False
        return time.monotonic() - since > DEAD_SECONDS


def living(ledger: Ledger) -> list[tuple[str, int]]:
    """Stage and process of every job that uses the ledger.

    A job of another machine, or from before this one was started again, is watched for LOOK_SECONDS: it lives if its
    beat goes on.
    """
    jobs = "SELECT owner, stage, machine, pid, started, beat FROM owners ORDER BY started"
    found, here = ledger.rows(jobs), _machine()
    elsewhere = {owner: beat for owner, _, machine, _, _, beat in found if machine != here}
    if elsewhere:
        time.sleep(LOOK_SECONDS)
        elsewhere = {owner: beat for owner, _, _, _, _, beat in ledger.rows(jobs) if beat != elsewhere.get(owner, beat)}
    return [
        (stage, pid)
        for owner, stage, machine, pid, started, _ in found
        if owner in elsewhere or (machine == here and abs((_started(pid) or 0.0) - started) <= 1)
    ]


def _machine() -> str:
    """The place within which pids are unique: this boot of this machine or container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def _started(pid: int) -> float | None:
    """When the process with this pid began; None if there is none, or if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None
