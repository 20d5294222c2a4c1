"""Shows the progress of a build: a bar on a terminal, else a line from time to time."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from eva_data.cli.say import sentence
from eva_data.cli.text.terminal import Terminal
from eva_data.foreign import shown_in_line
from eva_data.jobs.job import Progress as Tell

LINE_SECONDS = 15.0
"""Seconds between two lines of one stage if there is no terminal."""


class ConsoleReporter:
    """Reports to standard error, so that standard output holds only results."""

    def __init__(self) -> None:
        self._console = Terminal(stderr=True)
        self._bars: Progress | None = None
        self._current: TaskID | None = None

    def stage(self, name: str, iteration: int) -> Tell:
        label = shown_in_line(f"iteration {iteration}: {name}" if iteration else name)
        return self._bar(label) if sys.stderr.isatty() else self._lines(label)

    def waiting(self, name: str) -> Callable[[float, str], None]:
        said = time.monotonic() - LINE_SECONDS

        def tell(seconds: float, heard: str) -> None:
            nonlocal said
            if time.monotonic() - said >= LINE_SECONDS:
                said = time.monotonic()
                self._print(f"{name}: {seconds:.0f} s so far; last heard: {shown_in_line(heard[-120:])}")

        return tell

    def note(self, text: str) -> None:
        self._print(f"Note: {sentence(text)}")

    def _print(self, text: str) -> None:
        (self._bars.console if self._bars else self._console).print(text, soft_wrap=True, markup=False)

    def _bar(self, label: str) -> Tell:
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._bars.start()
            atexit.register(self._bars.stop)
        if self._current is not None:
            self._bars.stop_task(self._current)
        bars, task, begun = self._bars, self._bars.add_task(label, total=None, rate=""), time.monotonic()
        self._current = task

        def tell(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total, rate=_rate(done, begun))

        return tell

    def _lines(self, label: str) -> Tell:
        self._console.print(label, soft_wrap=True, markup=False, highlight=False)
        begun = said = time.monotonic()

        def tell(done: int, total: int) -> None:
            nonlocal said
            now = time.monotonic()
            if done < total and now - said < LINE_SECONDS:
                return
            said = now
            left = f", {(total - done) * (now - begun) / done:.0f} s left" if 0 < done < total else ""
            text = f"{label}: {done}/{total}, {_rate(done, begun)}{left}"
            self._console.print(text, soft_wrap=True, markup=False, highlight=False)

        return tell


def _rate(done: int, begun: float) -> str:
    return f"{done / max(time.monotonic() - begun, 1e-3):.1f}/s"
