"""What is finished: completions, rewards, bills and the first answers of servers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from eva_data.calls import Completion
from eva_data.ledger.file import connect, what_is_wrong

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
    """The sum over its completions; `None` if the server did not say it."""
    seconds: float
    """From sending the request to the whole reply."""
    cost: float | None
    """Dollars; 0 on own hardware, `None` if the price is unknown."""

    def row(self) -> tuple[Any, ...]:
        """Its fields in their order; dataclasses.astuple would copy each of them deeply."""
        return tuple(vars(self).values())


class Score(NamedTuple):
    """A reward as it was given; `None`, with the reason, if there is no usable one."""

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
        self.path = path
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
        """The finished calls among `keys`, with what they returned."""
        rows = self.select("text, finish_reason, prompt_tokens, completion_tokens", "generations", keys)
        return {key: Completion(*values) for key, *values in rows}

    def keep_completions(self, completions: Mapping[bytes, Completion], bills: Iterable[Bill] = ()) -> None:
        """Commit finished calls, and what they took, in one transaction.

        A failed call (text None) is no finished call and raises ValueError.
        """
        with self.transaction():
            self.add(completions, bills)

    def add(self, completions: Mapping[bytes, Completion], bills: Iterable[Bill]) -> None:
        """Add finished calls and bills to the transaction that is open."""
        failed = [completion for completion in completions.values() if completion.text is None]
        if failed:
            raise ValueError(f"a failed call cannot be kept: {failed[0].error}")
        self.many(
            "INSERT INTO generations (key, text, finish_reason, prompt_tokens, completion_tokens)"
            " VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET times = times + 1",
            ((key, c.text, c.finish_reason, c.prompt_tokens, c.completion_tokens) for key, c in completions.items()),
        )
        self.many("INSERT INTO bills VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (bill.row() for bill in bills))

    def scores(self, keys: Sequence[bytes]) -> dict[bytes, Score]:
        """The scored texts among `keys`, with their scores."""
        return {key: Score(reward, reason) for key, reward, reason in self.select("reward, reason", "rewards", keys)}

    def keep_scores(self, scores: Mapping[bytes, Score]) -> None:
        """Commit rewards in one transaction."""
        with self.transaction():
            self.many(
                "INSERT INTO rewards (key, reward, reason) VALUES (?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET times = times + 1",
                ((key, score.reward, score.reason) for key, score in scores.items()),
            )

    def spent(self) -> tuple[float, int]:
        """Dollars of all replies, and how many replies had no known price."""
        [(cost, unknown)] = self.rows("SELECT coalesce(sum(cost), 0), coalesce(sum(cost IS NULL), 0) FROM bills")
        return cost, unknown

    def bills(self) -> list[dict[str, Any]]:
        """What was used, one row per (iteration, stage, model), in that order.

        `replies`, `completions`, `prompt_tokens`, `completion_tokens`, `seconds` (of all replies, one after the
        other), `cost` in dollars (of the replies with a known price) and `unpriced`, the number of the others.
        """
        found = self.rows(
            "SELECT iteration, stage, model, count(*), sum(completions), coalesce(sum(prompt_tokens), 0),"
            " coalesce(sum(completion_tokens), 0), sum(seconds), coalesce(sum(cost), 0), sum(cost IS NULL)"
            " FROM bills GROUP BY iteration, stage, model ORDER BY iteration, stage, model"
        )
        names = ("iteration", "stage", "model", "replies", "completions", "prompt_tokens", "completion_tokens")
        return [dict(zip((*names, "seconds", "cost", "unpriced"), row, strict=True)) for row in found]

    def canary(self, model: str) -> dict[str, list[str]]:
        """The answers that a server's model gave to each probe when it was first met; empty if it never was."""
        rows = self.rows("SELECT probe, answers FROM canaries WHERE model = ?", (model,))
        return {probe: json.loads(answers) for probe, answers in rows}

    def keep_canary(self, model: str, answers: Mapping[str, Sequence[str]]) -> None:
        """Commit the first answers of a server's model."""
        rows = ((model, probe, json.dumps(list(found))) for probe, found in answers.items())
        with self.transaction():
            self.many("INSERT OR IGNORE INTO canaries VALUES (?, ?, ?)", rows)

    def totals(self) -> dict[str, int]:
        """Finished `generations` and `rewards`, how many of them were `repeated`, and the tokens of all."""
        [(generations, again, prompt, completion)] = self.rows(
            "SELECT count(*), coalesce(sum(times - 1), 0), coalesce(sum(prompt_tokens), 0),"
            " coalesce(sum(completion_tokens), 0) FROM generations"
        )
        [(rewards, rewards_again)] = self.rows("SELECT count(*), coalesce(sum(times - 1), 0) FROM rewards")
        return {
            "generations": generations,
            "rewards": rewards,
            "repeated": again + rewards_again,
            "prompt_tokens": prompt,
            "completion_tokens": completion,
        }

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a statement finds. Raises DataError if the file is damaged or out of reach."""
        with what_is_wrong(self.path):
            return self._connection.execute(statement, values).fetchall()

    def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> int:
        """Execute a statement with each row's values, and return how many rows of the table it changed."""
        with what_is_wrong(self.path):
            return self._connection.executemany(statement, rows).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written while this lasts is committed together, or none of it."""
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
        """The key and these columns of the rows that have one of these keys."""
        remaining = iter(keys)
        while chunk := list(islice(remaining, _KEYS_PER_QUERY)):
            marks = ", ".join("?" * len(chunk))
            yield from self.rows(f"SELECT key, {columns} FROM {table} WHERE key IN ({marks})", chunk)
