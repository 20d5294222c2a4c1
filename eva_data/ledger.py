"""Every finished model call and every reward, exactly once, and what it took, in one SQLite file.

A call is known by what determines its answer: the model's fingerprint, engine settings, messages, sampling
parameters, seed, salt and sample index; never by a URL, a path or a time. What a call returned is committed
before anyone uses it, so that a run that is killed at any point repeats nothing it has finished.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from eva_data.calls import Completion
from eva_data.errors import DataError

VERSION = 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS generations (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, times INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rewards (
    key BLOB PRIMARY KEY, reward REAL, reason TEXT, times INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bills (
    model TEXT NOT NULL, stage TEXT NOT NULL, iteration INTEGER NOT NULL, completions INTEGER NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, seconds REAL NOT NULL, cost REAL
);
CREATE INDEX IF NOT EXISTS bills_by_stage ON bills (stage, model);
CREATE TABLE IF NOT EXISTS canaries (
    model TEXT NOT NULL, probe TEXT NOT NULL, answers TEXT NOT NULL, PRIMARY KEY (model, probe)
) WITHOUT ROWID;
"""
# SQLite keeps NaN as NULL, so an unusable reward is a null with its reason beside it.

_KEYS_PER_QUERY = 500


@dataclass(frozen=True)
class Bill:
    """What one reply of a model, or one computed batch, took; several completions may share it."""

    model: str
    """Its fingerprint."""
    stage: str
    iteration: int
    completions: int
    """How many usable completions it brought."""
    prompt_tokens: int | None
    completion_tokens: int | None
    """Of all its completions together; null where the server did not say."""
    seconds: float
    """From sending the request to the whole reply."""
    cost: float | None
    """Dollars; 0 on own hardware, null where the price is unknown."""

    def row(self) -> tuple[Any, ...]:
        """Its fields in their order; dataclasses.astuple would copy each of them deeply."""
        return tuple(vars(self).values())


class Score(NamedTuple):
    """A reward as it was given; null with the reason where there is none that can be used."""

    reward: float | None
    reason: str | None


def call_key(parts: Mapping[str, Any]) -> bytes:
    """SHA-256 of the canonical JSON of everything that determines an answer."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def derived_seed(key: bytes) -> int:
    """The seed of the call's own random generator: 63 bits of its key."""
    return int.from_bytes(key[:8], "big") >> 1


class Ledger:
    """One open ledger. Safe for several processes at once; open it after any fork, never before."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(path, timeout=60, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        # A commit must survive the process, which WAL gives; losing the last ones to a power cut costs a call.
        self._connection.execute("PRAGMA synchronous=NORMAL")
        (found,) = self._connection.execute("PRAGMA user_version").fetchone()
        if found > VERSION:
            raise DataError(
                f"the ledger {path} is of version {found}, this eva-data reads up to {VERSION}: update eva-data"
            )
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version={VERSION}")

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def completions(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """Those of `keys` that are finished, with what they returned."""
        rows = self._select("text, finish_reason, prompt_tokens, completion_tokens", "generations", keys)
        return {key: Completion(*values) for key, *values in rows}

    def keep_completions(self, completions: Mapping[bytes, Completion], bills: Iterable[Bill] = ()) -> None:
        """Commit finished calls, and what they took, in one transaction.

        A failed call (text None) is no finished call and raises ValueError.
        """
        failed = [completion for completion in completions.values() if completion.text is None]
        if failed:
            raise ValueError(f"a failed call cannot be kept: {failed[0].error}")
        self._keep(
            {
                "INSERT INTO generations (key, text, finish_reason, prompt_tokens, completion_tokens)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET times = times + 1": (
                    (key, c.text, c.finish_reason, c.prompt_tokens, c.completion_tokens)
                    for key, c in completions.items()
                ),
                "INSERT INTO bills VALUES (?, ?, ?, ?, ?, ?, ?, ?)": (bill.row() for bill in bills),
            }
        )

    def scores(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """Those of `keys` that were scored."""
        return {key: Score(reward, reason) for key, reward, reason in self._select("reward, reason", "rewards", keys)}

    def keep_scores(self, scores: Mapping[bytes, Score]) -> None:
        """Commit rewards in one transaction."""
        self._keep(
            {
                "INSERT INTO rewards (key, reward, reason) VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET times = times + 1": (
                    (key, score.reward, score.reason) for key, score in scores.items()
                )
            }
        )

    def spent(self) -> tuple[float, int]:
        """Dollars of all replies, and how many replies had no known price."""
        cost, unknown = self._connection.execute(
            "SELECT coalesce(sum(cost), 0), coalesce(sum(cost IS NULL), 0) FROM bills"
        ).fetchone()
        return cost, unknown

    def bills(self) -> list[dict[str, Any]]:
        """What was used, one row per (iteration, stage, model), in that order.

        `replies`, `completions`, `prompt_tokens`, `completion_tokens`, `seconds` (of all replies, one after the
        other), `cost` in dollars (of the replies with a known price) and `unpriced`, the number of the others.
        """
        found = self._connection.execute(
            "SELECT iteration, stage, model, count(*), sum(completions), coalesce(sum(prompt_tokens), 0),"
            " coalesce(sum(completion_tokens), 0), sum(seconds), coalesce(sum(cost), 0), sum(cost IS NULL)"
            " FROM bills GROUP BY iteration, stage, model ORDER BY iteration, stage, model"
        )
        names = ("iteration", "stage", "model", "replies", "completions", "prompt_tokens", "completion_tokens")
        return [dict(zip((*names, "seconds", "cost", "unpriced"), row, strict=True)) for row in found]

    def canary(self, model: str) -> dict[str, list[str]]:
        """The answers that a server's model gave to each probe when it was first met; empty if it never was."""
        rows = self._connection.execute("SELECT probe, answers FROM canaries WHERE model = ?", (model,))
        return {probe: json.loads(answers) for probe, answers in rows}

    def keep_canary(self, model: str, answers: Mapping[str, Sequence[str]]) -> None:
        """Commit the first answers of a server's model."""
        rows = ((model, probe, json.dumps(list(found))) for probe, found in answers.items())
        self._keep({"INSERT OR IGNORE INTO canaries VALUES (?, ?, ?)": rows})

    def totals(self) -> dict[str, int]:
        """Finished `generations` and `rewards`, how many of them were `repeated`, and the tokens of all."""
        generations, again, prompt, completion = self._connection.execute(
            "SELECT count(*), coalesce(sum(times - 1), 0), coalesce(sum(prompt_tokens), 0),"
            " coalesce(sum(completion_tokens), 0) FROM generations"
        ).fetchone()
        rewards, rewards_again = self._connection.execute(
            "SELECT count(*), coalesce(sum(times - 1), 0) FROM rewards"
        ).fetchone()
        return {
            "generations": generations,
            "rewards": rewards,
            "repeated": again + rewards_again,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
        }

    def _select(self, columns: str, table: str, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        remaining = iter(keys)
        while chunk := list(islice(remaining, _KEYS_PER_QUERY)):
            marks = ", ".join("?" * len(chunk))
            yield from self._connection.execute(f"SELECT key, {columns} FROM {table} WHERE key IN ({marks})", chunk)

    def _keep(self, rows_of: Mapping[str, Iterable[tuple[Any, ...]]]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            for statement, rows in rows_of.items():
                self._connection.executemany(statement, rows)
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")


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
