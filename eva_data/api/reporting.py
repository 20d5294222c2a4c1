"""Tells what happens by `logging`, since a library does not print."""

from __future__ import annotations

import logging
from collections.abc import Callable

from eva_data.jobs.job import Progress

_log = logging.getLogger("eva_data")


class Logged:
    """The reporter of a run that Python code started: it writes to the logger `eva_data`."""

    def stage(self, name: str, iteration: int) -> Progress:
        def tell(done: int, total: int) -> None:
            _log.info("iteration %d, %s: %d of %d", iteration, name, done, total)

        return tell

    def waiting(self, name: str) -> Callable[[float, str], None]:
        def tell(seconds: float, message: str) -> None:
            _log.info("%s: %.0f s, %s", name, seconds, message)

        return tell

    def note(self, text: str) -> None:
        _log.info(text)
