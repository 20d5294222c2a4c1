"""What scores a response: a block with `backend: name` goes by the module of that name here.

A row is one prompt with its responses: `{"prompt_id", "prompt": messages, "response_idx": [...], "responses": [...]}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Protocol, cast

from eva_data.config import AnyReward
from eva_data.jobs.job import Job
from eva_data.ledger import Score


class Backend(Protocol):
    """What the module of a backend has, beside a `scorer_of(block)` that says what the reward is by content."""

    WHILE_TRAINING: bool
    """Whether it can score while a model trains: a response by itself, and in the process of the training."""

    def score_rows(self, job: Job, rows: Sequence[dict[str, Any]]) -> list[list[Score]]:
        """One Score per response of each row, from the ledger if it has them, else scored and kept there.

        The judge has none: its questions go through the pipeline `judge`, as those to every language model.
        """


def backend_called(name: str) -> Backend:
    """The module of a backend; importing it loads no model and no Distilabel."""
    return cast(Backend, import_module(f"{__name__}.{name}"))


def backend_of(job: Job) -> str:
    """The name of the backend that a reward job goes by."""
    assert isinstance(job.settings, AnyReward)
    return job.settings.backend


def score_rows(job: Job, rows: Sequence[dict[str, Any]]) -> list[list[Score]]:
    """One Score per response, in order; what the ledger has is not scored again. Runs in a child process."""
    return backend_called(backend_of(job)).score_rows(job, rows)
