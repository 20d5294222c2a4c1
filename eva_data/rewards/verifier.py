"""Rewards by a Python function of the prompt's last turn, the response and, if there are some, reference answers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from eva_data.config.rewards import Answers
from eva_data.errors import DataError, EvaError, JobError
from eva_data.jobs.job import Job, ProgressFile
from eva_data.ledger import Ledger, Score, call_key
from eva_data.project import load_function

Verify = Callable[..., float | None]
"""(text of the prompt's last turn, response) or (..., answer) -> reward; None where there is no telling."""

CHUNK_ROWS = 200
"""Prompts that the ledger is asked about together."""
COMMIT_SECONDS = 1.0
"""A slow function's verdicts are committed at least this often."""


def load_verifier(function: str) -> Verify:
    """The callable that `reward.function` names; ConfigError where there is none."""
    return load_function(function, "reward.function")


def fingerprint(function: str, version: str, answers: Answers | None = None) -> str:
    """What a verifier is in the ledger and in the column `reward_model`.

    Its name, its version or else its source file, and the content of its reference answers.
    """
    verify = load_verifier(function)
    code = Path(verify.__code__.co_filename) if hasattr(verify, "__code__") else None
    source = sha256(code.read_bytes()).hexdigest()[:12] if code and code.exists() else "unknown"
    # Of a file by its path only the name, as in the manifest.
    name = f"./{Path(function).name}" if function.startswith(("/", ".", "~")) else function
    name = f"verifier:{name}@{version or source}"
    return name if answers is None else f"{name}+answers:{_content(answers)}"


def reward_key(fingerprint: str, prompt: str, response: str) -> bytes:
    """The ledger's key of a reward."""
    return call_key({"reward_model": fingerprint, "prompt": prompt, "response": response})


def score_rows(job: Job, rows: Sequence[dict[str, Any]]) -> list[list[Score]]:
    """One Score per response. Raises JobError where the function raises on every one of them."""
    verdicts = _Verdicts(job, rows)
    progress = ProgressFile(job)
    total = sum(len(row["responses"]) for row in rows)
    results: list[list[Score]] = []
    done = 0
    assert job.ledger is not None
    with Ledger(job.ledger) as ledger:
        for start in range(0, len(rows), CHUNK_ROWS):
            chunk = rows[start : start + CHUNK_ROWS]
            keys_R = [[verdicts.key(row, response) for response in row["responses"]] for row in chunk]
            kept = ledger.scores([key for keys in keys_R for key in keys])
            with _Committed(ledger) as fresh:
                for row, keys in zip(chunk, keys_R, strict=True):
                    for key, response in zip(keys, row["responses"], strict=True):
                        if key not in kept:
                            kept[key], final = verdicts.score(row, response)
                            if final:
                                fresh.add(key, kept[key])
                        done += 1
                        progress(done, total)
                    results.append([kept[key] for key in keys])
    verdicts.refuse_if_it_only_raises(score for scores in results for score in scores)
    return results


class _Committed:
    """Verdicts, committed together at the end and every now and then."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._fresh: dict[bytes, Score] = {}
        self._since = time.monotonic()

    def __enter__(self) -> _Committed:
        return self

    def __exit__(self, *_: object) -> None:
        # After an exception too: what was decided before it need not be decided again.
        self._commit()

    def add(self, key: bytes, score: Score) -> None:
        self._fresh[key] = score
        if time.monotonic() - self._since >= COMMIT_SECONDS:
            self._commit()

    def _commit(self) -> None:
        self._ledger.keep_scores(self._fresh)
        self._fresh, self._since = {}, time.monotonic()


class _Verdicts:
    """The function of a job, with its answers, and the first error it raised."""

    def __init__(self, job: Job, rows: Sequence[dict[str, Any]]) -> None:
        self._function: str = job.settings["function"]
        self._verify = load_verifier(self._function)
        self._fingerprint: str = job.settings["fingerprint"]
        answers = job.settings.get("answers")
        self._answers = None if answers is None else read_answers(Answers(**answers), [_text(row) for row in rows])
        self._raised: Exception | None = None

    def key(self, row: Mapping[str, Any], response: str) -> bytes:
        return reward_key(self._fingerprint, _text(row), response)

    def score(self, row: Mapping[str, Any], response: str) -> tuple[Score, bool]:
        """The Score, and whether it is one to keep: a verdict that an exception prevented is asked for again."""
        arguments: tuple[Any, ...] = (_text(row), response)
        if self._answers is not None:
            if self._answers.get(_text(row)) is None:
                return Score(None, "unverifiable"), True
            arguments = (*arguments, self._answers[_text(row)])
        try:
            given = self._verify(*arguments)
            reward = None if given is None else float(given)
        except EvaError:
            # Something is missing that the function needs, for this response as for all others.
            raise
        except Exception as error:
            # The user's own function: one bad row must not end a night's run, nor vanish from it.
            self._raised = self._raised or error
            return Score(None, f"verifier_raised: {type(error).__name__}: {error}"), False
        if reward is None:
            return Score(None, "unverifiable"), True
        return (Score(reward, None) if math.isfinite(reward) else Score(None, "not_finite")), True

    def refuse_if_it_only_raises(self, scores: Iterable[Score]) -> None:
        if self._raised and all(score.reason and score.reason.startswith("verifier_raised") for score in scores):
            raise JobError(
                f"the verifier `{self._function}` raised on every response, first "
                f"{type(self._raised).__name__}: {self._raised}"
            )


def read_answers(answers: Answers, prompts: Sequence[str]) -> dict[str, Any]:
    """The reference answer of each of `prompts` that has one; prompts are compared as ids compare them.

    Raises DataError where there is no such file or column, or where one prompt has two different answers.
    """
    import polars as pl

    from eva_data.tables.ids import normalise
    from eva_data.tables.reading import read_file

    frame = read_file(answers.path, "reward.answers.path")
    columns = frame.collect_schema().names()
    for key, column in (("prompt", answers.prompt), ("answer", answers.answer)):
        if column not in columns:
            raise DataError(
                f"`reward.answers.{key}` is `{column}`, but {answers.path.name} has the columns "
                f"{', '.join(columns)}: name one of them"
            )
    wanted = pl.LazyFrame({"prompt": prompts}, schema={"prompt": pl.String}).unique()
    given = frame.select(id=normalise(pl.col(answers.prompt).cast(pl.String)), answer=pl.col(answers.answer))
    found = (
        wanted.with_columns(id=normalise(pl.col("prompt")))
        .join(given.filter(pl.col("answer").is_not_null()).unique(), on="id")
        .select("prompt", "answer")
        .collect()
    )
    twice = found.filter(pl.col("prompt").is_duplicated())["prompt"]
    if len(twice):
        raise DataError(
            f"{answers.path.name} has two different answers to the prompt `{twice.sort()[0][:80]}`: keep one of them"
        )
    return dict(found.iter_rows())


def _content(answers: Answers) -> str:
    if not answers.path.is_file():
        raise DataError(f"`reward.answers.path` is {answers.path}, and there is no such file")
    digest = sha256(answers.path.read_bytes())
    digest.update(f"\n{answers.prompt}\n{answers.answer}".encode())
    return digest.hexdigest()[:12]


def _text(row: Mapping[str, Any]) -> str:
    text: str = row["prompt"][-1]["content"]
    return text
