"""The finished rows of the ledger: completions, rewards, bills and the first answers of servers."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from eva_data.calls import Completion, Used
from eva_data.ledger.file import COUNTS, connect, what_is_wrong
from eva_data.ledger.texts import packed, unpacked

_KEYS_PER_QUERY = 500
BILLS_AT_ONCE = 20_000
"""Number of bills that are summed up in one transaction. Fewer are added whenever a sum is asked for."""
_SUMS = """
    SELECT iteration, stage, model, sum(replies) AS replies, sum(completions) AS completions,
        sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, total(seconds) AS seconds,
        total(cost) AS cost, sum(unpriced) AS unpriced, max(last_bill) AS last_bill
    FROM (
        SELECT * FROM bill_sums UNION ALL
        SELECT iteration, stage, model, 1, completions, coalesce(prompt_tokens, 0), coalesce(completion_tokens, 0),
            seconds, coalesce(cost, 0), cost IS NULL, rowid
        FROM bills WHERE rowid > (SELECT coalesce(max(last_bill), 0) FROM bill_sums) AND rowid <= ?
    ) GROUP BY iteration, stage, model ORDER BY iteration, stage, model
"""
"""The rows of `bill_sums`, if they held the bills up to a rowid."""
_ALL = 2**63 - 1
"""A rowid above all others."""
_BATCHES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "completions": (
        "key, text, finish_reason, prompt_tokens, completion_tokens, tokens",
        "generations LEFT JOIN likelihoods USING (key)",
        ("key",),
    ),
    "rewards": ("key, reward, reason", "rewards", ("key",)),
    "canaries": ("model, probe, answers", "canaries", ("model", "probe")),
}
"""Kind -> its columns, its table, and the columns of its key."""


@dataclass(frozen=True)
class Bill:
    """What one reply of a model, or one computed batch, cost. Several completions may share a bill."""

    model: str
    """The model's fingerprint."""
    stage: str
    iteration: int
    completions: int
    """The number of usable completions in the reply."""
    prompt_tokens: int | None
    completion_tokens: int | None
    """The sum over the completions; None if the server did not say it."""
    seconds: float
    """Seconds from sending the request to the end of the reply."""
    cost: float | None
    """Dollars; 0 on own hardware, None if the price is unknown."""

    def row(self) -> tuple[Any, ...]:
        """The fields in their order. dataclasses.astuple would make a deep copy of each."""
        return tuple(vars(self).values())


class Score(NamedTuple):
    """A reward; its value is None, with a reason, if there is no usable reward."""

    reward: float | None
    reason: str | None


def call_key(parts: Mapping[str, Any]) -> bytes:
    """The SHA-256 of the canonical JSON of everything that determines an answer."""
    return hashed(canonical(parts))


def hashed(text: str) -> bytes:
    """The SHA-256 of a text, which may hold lone surrogates."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


canonical: Callable[[Any], str] = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode
"""The one JSON text of a value: sorted keys, no spaces, characters as they are."""


def derived_seed(key: bytes) -> int:
    """The seed of the call's own random generator: 63 bits of the call's key."""
    return int.from_bytes(key[:8], "big") >> 1


class Ledger:
    """One open ledger. Several processes may use the file at once. Open it after any fork, never before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.used = Used()
        """What was added to the ledger since it was opened here."""
        self._connection = connect(path)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def completions(self, keys: Sequence[bytes]) -> dict[bytes, Completion]:
        """The finished calls among `keys`, with their completions."""
        found = "text, finish_reason, prompt_tokens, completion_tokens, tokens"
        rows = self.select(found, "generations LEFT JOIN likelihoods USING (key)", keys)
        return {
            key: Completion(
                unpacked(text), reason, asked, answered, None, None if likely is None else json.loads(likely)
            )
            for key, text, reason, asked, answered, likely in rows
        }

    def keep_completions(self, completions: Mapping[bytes, Completion], bills: Iterable[Bill] = ()) -> None:
        """Commit finished calls and their bills in one transaction.

        Raise ValueError if a completion's text is None: a failed call is not finished.
        """
        with self.transaction():
            self.add(completions, bills)

    def add(self, completions: Mapping[bytes, Completion], bills: Iterable[Bill]) -> None:
        """Add finished calls and bills to the open transaction."""
        rows = []
        for key, c in completions.items():
            if c.text is None:
                raise ValueError(f"a failed call cannot be kept: {c.error}")
            rows.append((key, packed(c.text), c.finish_reason, c.prompt_tokens, c.completion_tokens))
        if rows:
            self.many(
                "INSERT INTO generations (key, text, finish_reason, prompt_tokens, completion_tokens)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET times = times + 1",
                rows,
            )
        likely = [(key, json.dumps(c.first_token)) for key, c in completions.items() if c.first_token]
        if likely:
            self.many("INSERT OR IGNORE INTO likelihoods VALUES (?, ?)", likely)
        added = list(bills)
        if not added:
            return
        self.many("INSERT INTO bills VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [bill.row() for bill in added])
        self.used = Used(
            self.used.tokens + sum(bill.completion_tokens or 0 for bill in added),
            self.used.dollars + sum(bill.cost or 0.0 for bill in added),
        )

    def scores(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """The scored texts among `keys`, with their scores."""
        return {key: Score(reward, reason) for key, reward, reason in self.select("reward, reason", "rewards", keys)}

    def keep_scores(self, scores: Mapping[bytes, Score]) -> None:
        """Commit rewards in one transaction."""
        with self.transaction():
            self.add_scores(scores)

    def add_scores(self, scores: Mapping[bytes, Score]) -> None:
        """Add rewards to the open transaction."""
        self.many(
            "INSERT INTO rewards (key, reward, reason) VALUES (?, ?, ?)"
            " ON CONFLICT (key) DO UPDATE SET times = times + 1",
            ((key, score.reward, score.reason) for key, score in scores.items()),
        )

    def spent(self) -> tuple[float, int]:
        """The dollars of all replies, and the number of replies without a known price."""
        bills = self.bills()
        return sum(bill["cost"] for bill in bills), sum(bill["unpriced"] for bill in bills)

    def bills(self) -> list[dict[str, Any]]:
        """What was used: one row per (iteration, stage, model), in that order.

        The other columns are `replies`, `completions`, `prompt_tokens`, `completion_tokens`, `seconds` (the sum over
        all replies), `cost` in dollars (of the replies with a known price) and `unpriced` (the number of replies
        without a known price). The last digits of `seconds` and `cost` depend on the order of addition.
        """
        self.sum_up()
        names = ("iteration", "stage", "model", "replies", "completions", "prompt_tokens", "completion_tokens")
        found = self.rows(_SUMS, (_ALL,))
        return [dict(zip((*names, "seconds", "cost", "unpriced"), row[:-1], strict=True)) for row in found]

    def sum_up(self, at_once: int = BILLS_AT_ONCE) -> None:
        """Keep the sums of the bills, so that later only newer bills are read; fewer than `at_once` are left.

        Each step is one transaction. A process that is killed loses one step, and others may sum up meanwhile.
        """
        later = "SELECT min(rowid) FROM bills WHERE rowid >= ? + (SELECT coalesce(max(last_bill), 0) FROM bill_sums)"
        while (until := self.rows(later, (at_once,))[0][0]) is not None:
            with self.transaction():
                # If another process has summed up these bills just now, this changes nothing.
                self.rows(f"INSERT OR REPLACE INTO bill_sums {_SUMS}", (until,))

    def summed(self) -> tuple[float, int]:
        """The dollars of the bills that are summed up, and the rowid of the last of them; 0 if none is."""
        [(cost, last)] = self.rows("SELECT total(cost), coalesce(max(last_bill), 0) FROM bill_sums")
        return cost, last

    def canary(self, model: str) -> dict[str, list[str]]:
        """The first answers of a server's model to each probe; empty if the model was never asked."""
        rows = self.rows("SELECT probe, answers FROM canaries WHERE model = ?", (model,))
        return {probe: json.loads(answers) for probe, answers in rows}

    def keep_canary(self, model: str, answers: Mapping[str, Sequence[str]]) -> None:
        """Commit the first answers of a server's model."""
        rows = ((model, probe, json.dumps(list(found))) for probe, found in answers.items())
        with self.transaction():
            self.many("INSERT OR IGNORE INTO canaries VALUES (?, ?, ?)", rows)

    def register(self, name: str, sha256: str, text: str) -> None:
        """Keep the design of an experiment, once; a design that is there already stays."""
        with self.transaction():
            self.many("INSERT OR IGNORE INTO designs VALUES (?, ?, ?)", [(name, sha256, text)])

    def designs(self) -> list[tuple[str, str]]:
        """Name and hash of every registered design, by name."""
        return self.rows("SELECT name, sha256 FROM designs ORDER BY name, sha256")

    def totals(self) -> dict[str, int]:
        """Numbers of finished `generations` and `rewards`, how many of them were `repeated`, and sums of tokens."""
        if not self.rows("SELECT 1 FROM counts WHERE part = 0"):
            self._count_before()
        [found] = self.rows(f"SELECT {', '.join(f'sum({name})' for name in COUNTS)} FROM counts")
        return dict(zip(COUNTS, found, strict=True))

    def _count_before(self) -> None:
        """Count the rows that an older version wrote. Others may write meanwhile: this reads one state of the file."""
        self.rows("BEGIN")
        try:
            [since] = self.rows(f"SELECT {', '.join(COUNTS)} FROM counts WHERE part = 1")
            [(generations, again, *tokens)] = self.rows(
                "SELECT count(*), coalesce(sum(times - 1), 0), coalesce(sum(prompt_tokens), 0),"
                " coalesce(sum(completion_tokens), 0) FROM generations"
            )
            [(rewards, rewards_again)] = self.rows("SELECT count(*), coalesce(sum(times - 1), 0) FROM rewards")
        finally:
            self.rows("COMMIT")
        now = (generations, rewards, again + rewards_again, *tokens)
        before = [whole - part for whole, part in zip(now, since, strict=True)]
        with self.transaction():
            self.many("INSERT OR IGNORE INTO counts VALUES (0, ?, ?, ?, ?, ?)", [before])

    def identity(self) -> str:
        """The ledger's own name: 32 hexadecimal digits, drawn when it was made."""
        [(found,)] = self.rows("SELECT id FROM identity")
        return str(found)

    def batches(self, kind: str, most: int) -> Iterator[list[tuple[Any, ...]]]:
        """All `completions`, `rewards` or `canaries`, in the order of their keys, at most `most` at a time.

        Texts of completions are as the ledger keeps them (`texts`).
        """
        columns, table, keys = _BATCHES[kind]
        names, after = ", ".join(keys), tuple(b"" if name == "key" else "" for name in keys)
        marks = ", ".join("?" * len(keys))
        statement = f"SELECT {columns} FROM {table} WHERE ({names}) > ({marks}) ORDER BY {names} LIMIT {most}"
        while rows := self.rows(statement, after):
            after = rows[-1][: len(keys)]
            yield rows

    def own_bills(self, *, after: int, most: int) -> list[tuple[Any, ...]]:
        """Rowid and fields of the next bills that are not imported."""
        return self.rows(
            "SELECT rowid, bills.* FROM bills WHERE rowid > ? AND NOT EXISTS"
            " (SELECT 1 FROM imports WHERE bills.rowid BETWEEN first_bill AND last_bill) ORDER BY rowid LIMIT ?",
            (after, most),
        )

    def imported(self) -> set[str]:
        """The hashes of the segments of other ledgers that are in this one."""
        return {digest for (digest,) in self.rows("SELECT sha256 FROM imports")}

    def add_segment(self, kind: str, digest: str, rows: Sequence[tuple[Any, ...]]) -> int:
        """Add the rows of a segment in one transaction, unless it is there; return how many calls differ from ours."""
        conflicting, bills = 0, (None, None)
        with self.transaction():
            if self.rows("SELECT 1 FROM imports WHERE sha256 = ?", (digest,)):
                return 0
            if kind == "completions":
                kept = self.select("text", "generations", [row[0] for row in rows])
                ours = {key: unpacked(text) for key, text in kept}
                conflicting = sum(1 for row in rows if ours.get(row[0], row[1]) != row[1])
                self.many(
                    "INSERT OR IGNORE INTO generations (key, text, finish_reason, prompt_tokens, completion_tokens)"
                    " VALUES (?, ?, ?, ?, ?)",
                    ((row[0], packed(row[1]), *row[2:5]) for row in rows),
                )
                likely = ((row[0], row[5]) for row in rows if row[5] is not None and row[0] not in ours)
                self.many("INSERT OR IGNORE INTO likelihoods VALUES (?, ?)", likely)
            elif kind == "rewards":
                self.many("INSERT OR IGNORE INTO rewards (key, reward, reason) VALUES (?, ?, ?)", rows)
            elif kind == "canaries":
                self.many("INSERT OR IGNORE INTO canaries VALUES (?, ?, ?)", rows)
            else:
                [(last,)] = self.rows("SELECT coalesce(max(rowid), 0) FROM bills")
                self.many("INSERT INTO bills VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
                bills = (last + 1, last + len(rows))
            self.many("INSERT INTO imports VALUES (?, ?, ?)", [(digest, *bills)])
        return conflicting

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement finds. Raise DataError if the file is damaged or out of reach."""
        with what_is_wrong(self.path):
            return self._connection.execute(statement, values).fetchall()

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection, for what concerns the file as a whole."""
        return self._connection

    def version_of_others(self) -> int:
        """A number that changes if another connection has written to the ledger."""
        [(version,)] = self.rows("PRAGMA data_version")
        return int(version)

    def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> int:
        """Execute a statement with each row's values, and return the number of changed rows."""
        with what_is_wrong(self.path):
            return self._connection.executemany(statement, rows).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit everything that is written in this context together, or nothing of it."""
        with what_is_wrong(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def select(self, columns: str, table: str, keys: Sequence[bytes]) -> Iterator[tuple[Any, ...]]:
        """The key and the given columns of every row whose key is among `keys`."""
        remaining = iter(keys)
        while chunk := list(islice(remaining, _KEYS_PER_QUERY)):
            marks = ", ".join("?" * len(chunk))
            yield from self.rows(f"SELECT key, {columns} FROM {table} WHERE key IN ({marks})", chunk)
