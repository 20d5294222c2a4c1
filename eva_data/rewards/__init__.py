"""What scores a response: one backend, one module of its name, each with `score_rows(job, rows)`.

A row is one prompt with its responses: `{"prompt_id", "prompt": messages, "response_idx": [...], "responses": [...]}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from eva_data.config import Classifier, Judge, Pairwise, RewardServer, Verifier
from eva_data.jobs.job import Job
from eva_data.ledger import Score


def backend_of(job: Job) -> str:
    """The name of the backend that a reward job goes by."""
    assert isinstance(job.settings, Verifier | Classifier | Pairwise | RewardServer | Judge)
    return job.settings.backend


def score_rows(job: Job, rows: Sequence[dict[str, Any]]) -> list[list[Score]]:
    """One Score per response, in order; what the ledger has is not scored again. Runs in a child process."""
    backend = import_module(f"{__name__}.{backend_of(job)}")
    scores: list[list[Score]] = backend.score_rows(job, rows)
    return scores
