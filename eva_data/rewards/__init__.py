"""Scores responses. A block with `backend: name` uses the module of that name in `backends`.

A row is one prompt with its responses: `{"prompt_id", "prompt": messages, "response_idx": [...], "responses": [...]}`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Protocol, cast

from eva_data.calls import Rows
from eva_data.config import AnyReward
from eva_data.jobs.job import Job
from eva_data.ledger import Score


class Backend(Protocol):
    """The members of a backend's module, beside `scorer_of(block)`, which says what the reward is by content."""

    WHILE_TRAINING: bool
    """Whether it can score while a model trains: each response by itself, in the process of the training."""

    def score_rows(self, job: Job, rows: Rows) -> Iterable[list[Score]]:
        """One Score per response of each row, from the ledger if it has them, else computed and kept there.

        The judge has no such function: its questions go through the pipeline `judge`, like questions to other models.
        Nor has the consensus, whose responses vote (`method.signals.votes`) on the answers that `read_rows` reads, nor
        the tournament, whose verdicts (`compare_rows`) give strengths (`method.signals.tournament`).
        """


def backend_called(name: str) -> Backend:
    """The module of a backend. Its import loads no model and no Distilabel."""
    return cast(Backend, import_module(f"{__name__}.backends.{name}"))


def backend_of(job: Job) -> str:
    """The name of a reward job's backend."""
    assert isinstance(job.settings, AnyReward)
    return job.settings.backend


def score_rows(job: Job, rows: Rows) -> list[list[Score]]:
    """One Score per response, in order. Scores in the ledger are not computed again."""
    return [*iter_scores(job, rows)]


def iter_scores(job: Job, rows: Rows) -> Iterable[list[Score]]:
    """The scores of `score_rows`, row by row as far as the backend can. This runs in a child process."""
    return backend_called(backend_of(job)).score_rows(job, rows)
