"""What scores a response: one backend, one module of its name, each with `score_rows(job, rows)`.

A row is one prompt with its responses: `{"prompt_id", "prompt": messages, "response_idx": [...], "responses": [...]}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from eva_data.jobs.job import Job
from eva_data.ledger import Score


def score_rows(job: Job, rows: Sequence[dict[str, Any]]) -> list[list[Score]]:
    """One Score per response, in order; what the ledger has is not scored again. Runs in a child process."""
    job = replace(job, settings=job.settings | job.connection)
    backend = import_module(f"{__name__}.{job.settings['backend']}")
    scores: list[list[Score]] = backend.score_rows(job, rows)
    return scores
