"""Rewards by a Python function of the prompt's last turn, the response and, if given, the answer to the prompt."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from eva_data.calls import Rows
from eva_data.config.rewards import Answers, Verifier
from eva_data.environments.single_turn import is_loader, scorer_of_rows
from eva_data.environments.task_sets import is_task_set, scorer_of_set
from eva_data.errors import EvaError, JobError
from eva_data.jobs.job import Job, ProgressFile
from eva_data.ledger import Claims, Ledger, Score, call_key
from eva_data.ledger.claims import LOOK_SECONDS
from eva_data.own_code import identity, load_function
from eva_data.rewards.known import KnownAnswers, answers_id, read_answers
from eva_data.rewards.scorers import Scorer
from eva_data.tables.schemas import CARRIED

if TYPE_CHECKING:
    import polars as pl

    from eva_data.dataset.store import Store

WHILE_TRAINING = True

Verify = Callable[..., float | None]
"""(text of the prompt's last turn, response) or (..., answer) -> reward, or None if it cannot tell."""

CHUNK_ROWS = 200
"""Number of prompts that are looked up in the ledger together."""
COMMIT_SECONDS = 1.0
"""Seconds between commits: the verdicts of a slow function are committed at least so often."""


def load_verifier(function: str) -> Verify:
    """The function of that name (see `own_code`); of what poses tasks by verifiers, what scores them.

    Raise ConfigError if there is none.
    """
    found = load_function(function, "reward.function")
    if is_loader(found):
        return scorer_of_rows(function, found)
    return scorer_of_set(found) if is_task_set(found) else found


def scorer_of(block: Verifier) -> Scorer:
    """The scorer of a function, by its name, version and answers."""
    return Scorer(block, fingerprint(block.function, block.version, block.reference))


def fingerprint(function: str, version: str, answers: Answers | None = None) -> str:
    """The name of a verifier in the ledger and in the column `reward_model`.

    It holds the function's name, its version or else a hash of its source file, and a hash of its reference answers.
    """
    name = f"verifier:{identity(function, load_function(function, 'reward.function'), version)}"
    return name if answers is None else f"{name}+answers:{answers_id(answers)}"


def reward_key(fingerprint: str, prompt: str, response: str, carried: Mapping[str, Any] | None = None) -> bytes:
    """The ledger's key of a reward; `carried` is what the prompt carries and the function is given."""
    return call_key({"reward_model": fingerprint, "prompt": prompt, "response": response} | dict(carried or {}))


def score_rows(job: Job, rows: Rows) -> Iterator[list[Score]]:
    """One Score per response. Raise JobError if the function raises on every response."""
    verdicts = _Verdicts(job, rows)
    progress = ProgressFile(job)
    total = sum(len(row["responses"]) for row in rows)
    done, remaining = 0, iter(rows)
    assert job.ledger is not None
    with Ledger(job.ledger) as ledger, Claims(ledger, job.scorer, job.kind, job.iteration) as claims:
        while chunk := [*islice(remaining, CHUNK_ROWS)]:
            verdicts.look_up(chunk)
            keys_R = [[verdicts.key(row, response) for response in row["responses"]] for row in chunk]
            wanted = {
                key: (row, response)
                for row, keys in zip(chunk, keys_R, strict=True)
                for key, response in zip(keys, row["responses"], strict=True)
            }
            responses = sum(map(len, keys_R))
            kept: dict[bytes, Score] = {}
            while missing := [key for key in wanted if key not in kept]:
                found, mine = claims.take_scores(missing)
                kept |= found
                with _Committed(claims) as fresh:
                    for key in (key for key in missing if key in mine):
                        kept[key], final = verdicts.score(*wanted[key])
                        fresh.add(key, kept[key], final=final)
                        progress(done + responses * len(kept) // len(wanted), total)
                if not found and not mine:
                    time.sleep(LOOK_SECONDS)
            done += responses
            progress(done, total)
            scores = [[kept[key] for key in keys] for keys in keys_R]
            verdicts.note(score for each in scores for score in each)
            yield from scores
    verdicts.refuse_if_it_only_raised()


class _Committed:
    """Keeps verdicts, and commits them from time to time and at the end. The others are given up."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims
        self._fresh: dict[bytes, Score] = {}
        self._given_up: list[bytes] = []
        self._since = time.monotonic()

    def __enter__(self) -> _Committed:
        return self

    def __exit__(self, *_: object) -> None:
        # This runs after an exception too, so that the verdicts before it are kept.
        self._commit()

    def add(self, key: bytes, score: Score, *, final: bool) -> None:
        if final:
            self._fresh[key] = score
        else:
            self._given_up.append(key)
        if time.monotonic() - self._since >= COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        if self._fresh:
            self._claims.keep_scores(self._fresh)
        self._claims.release(self._given_up)
        self._fresh, self._given_up, self._since = {}, [], time.monotonic()


class _Verdicts:
    """The function of a job, with its answers and the first error that it raised."""

    def __init__(self, job: Job, rows: Rows) -> None:
        assert isinstance(job.settings, Verifier)
        self._function = job.settings.function
        self._verify = load_verifier(self._function)
        self._fingerprint = job.scorer
        answers = job.settings.reference
        self._carried = job.settings.carried
        self._known = None if answers is None else KnownAnswers(answers, lambda: map(last_text, rows))
        self._answers: dict[str, Any] = {}
        self._raised: Exception | None = None
        self._only_raised = True

    def look_up(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Find the reference answers to the prompts of the rows that are scored next."""
        if self._known is not None:
            self._answers = self._known.of([last_text(row) for row in rows])

    def key(self, row: Mapping[str, Any], response: str) -> bytes:
        carried = {column: row.get(column) for column in CARRIED} if self._carried else None
        return reward_key(self._fingerprint, last_text(row), response, carried)

    def score(self, row: Mapping[str, Any], response: str) -> tuple[Score, bool]:
        """The Score, and whether to keep it. After an exception, a rerun asks the function again."""
        arguments: tuple[Any, ...] = (last_text(row), response)
        if self._known is not None:
            if self._answers.get(last_text(row)) is None:
                return Score(None, "unverifiable"), True
            arguments = (*arguments, self._answers[last_text(row)])
        elif self._carried:
            carried = [row.get(column) for column in CARRIED]
            if not any(value is not None for value in carried):
                return Score(None, "unverifiable"), True
            arguments = (*arguments, *carried)
        try:
            given = self._verify(*arguments)
            reward = None if given is None else float(given)
        except EvaError:
            # Something that the function needs is missing, for this response and for all others.
            raise
        except Exception as error:
            # This is the user's own function. One bad row must neither end a night's run nor vanish.
            self._raised = self._raised or error
            return Score(None, f"verifier_raised: {type(error).__name__}: {error}"), False
        if reward is None:
            return Score(None, "unverifiable"), True
        return (Score(reward, None) if math.isfinite(reward) else Score(None, "not_finite")), True

    def note(self, scores: Iterable[Score]) -> None:
        """Look at finished scores, also at those that were in the ledger."""
        raised = (score.reason is not None and score.reason.startswith("verifier_raised") for score in scores)
        self._only_raised = self._only_raised and all(raised)

    def refuse_if_it_only_raised(self) -> None:
        """Raise JobError if the function raised on every response that was looked at."""
        if self._raised and self._only_raised:
            raise JobError(
                f"the verifier `{self._function}` raised on every response, first "
                f"{type(self._raised).__name__}: {self._raised}"
            )


def known_answers(block: Verifier, store: Store, iteration: int) -> pl.DataFrame:
    """One row per prompt of X_t with a known answer: `prompt_id`, and `answer` as text.

    The answer is what the prompt carries, or what the file of `reward.answers` says of its last turn. Raise DataError
    as `read_answers` does.
    """
    import polars as pl

    prompts = store.scan("prompts", iteration)
    schema = {"prompt_id": pl.String, "answer": pl.String}
    if block.carried:
        return prompts.select("prompt_id", "answer").drop_nulls("answer").collect()
    if block.reference is None:
        return pl.DataFrame(schema=schema)
    rows = prompts.select("prompt_id", text=pl.col("prompt").list.last().struct.field("content")).collect()
    found = read_answers(block.reference, rows["text"].to_list())
    answers = [found.get(text) for text in rows["text"]]
    named = {"prompt_id": rows["prompt_id"], "answer": [None if each is None else str(each) for each in answers]}
    return pl.DataFrame(named, schema=schema).drop_nulls("answer")


def last_text(row: Mapping[str, Any]) -> str:
    """The text of the prompt's last turn."""
    text: str = row["prompt"][-1]["content"]
    return text
