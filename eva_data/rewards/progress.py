"""How far a reward job is, for the process that waits for it."""

from __future__ import annotations

import json
import time

from eva_data.files import write_text
from eva_data.jobs import PROGRESS, Job

SECONDS = 0.5
"""Between two reports, at least."""


class Progress:
    """Called with (done, total) as often as one likes; writes the job's progress file now and then, and at the end."""

    def __init__(self, job: Job) -> None:
        self._path = job.folder / PROGRESS
        self._written = -SECONDS

    def __call__(self, done: int, total: int) -> None:
        if done == total or time.monotonic() - self._written >= SECONDS:
            write_text(self._path, json.dumps({"done": done, "total": total}))
            self._written = time.monotonic()
