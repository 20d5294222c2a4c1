"""Tells what happens by `logging`, since a library does not print."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from eva_data.calls import StageProgress
from eva_data.report.underway import Underway, lines_of

_log = logging.getLogger("eva_data")


class Logged:
    """The reporter of a run that Python code started: it writes plain lines to the logger `eva_data`."""

    def __init__(self) -> None:
        self._underway = Underway()

    def foresee(self, stages: Sequence[tuple[str, int]]) -> None:
        self._underway.foresee(stages)

    def stage(self, name: str, iteration: int) -> StageProgress:
        return lines_of(self._underway, name, iteration, _log.info)

    def waiting(self, name: str) -> Callable[[float, str], None]:
        def tell(seconds: float, message: str) -> None:
            _log.info("%s: %.0f s, %s", name, seconds, message)

        return tell

    def note(self, text: str) -> None:
        _log.info("%s", text)
