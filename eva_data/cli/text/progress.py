"""Shows the progress of a build: one live line below the finished stages on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eva_data.cli.say import end_before_printing, sentence
from eva_data.cli.text.terminal import Terminal
from eva_data.foreign import shown_in_line
from eva_data.jobs.job import Progress as Tell
from eva_data.report.figures import duration

LINE_SECONDS = 15.0
"""Seconds between two lines of one stage if there is no terminal."""


class ConsoleReporter:
    """Reports to standard error, so that standard output holds only results."""

    def __init__(self) -> None:
        self._console = Terminal(stderr=True)
        self._shown: _Stage | None = None

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
        self._console.print(text, soft_wrap=True, markup=False)

    def _bar(self, label: str) -> Tell:
        if self._shown is not None:
            self._shown.end()
        self._shown = _Stage(label, self._console)
        end_before_printing(self._shown.end)
        return self._shown.tell

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


class _Stage:
    """The live line of the stage at work. When the stage ends, one line that scrolls away takes its place."""

    def __init__(self, label: str, console: Terminal) -> None:
        self._label, self._console = label, console
        self._begun = time.monotonic()
        self._done: int | None = None
        self._total: int | None = None
        self._live = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._live.add_task(label, total=None, count="starting")
        self._live.start()
        self._ended = False

    def tell(self, done: int, total: int) -> None:
        if self._ended:
            return
        self._done, self._total = done, total
        count = f"{done}/{total} {_rate(done, self._begun)}"
        self._live.update(self._task, completed=done, total=total, count=count)

    def end(self) -> None:
        """Put the line of the ended stage into the place of the live one. A second call does nothing."""
        if self._ended:
            return
        self._ended = True
        self._live.stop()
        seconds = time.monotonic() - self._begun
        # A stage whose results were all there already tells no count.
        text = f"{self._label}: {duration(seconds)}"
        if self._done is not None:
            of = "" if self._done == self._total else f" of {self._total}"
            text = f"{self._label}: {self._done}{of} in {duration(seconds)}, {_rate(self._done, self._begun)}"
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)


def _rate(done: int, begun: float) -> str:
    """`8.4/s`, or for slower things `28.7 s each`."""
    seconds = max(time.monotonic() - begun, 1e-3)
    return f"{seconds / done:.1f} s each" if 0 < done < seconds else f"{done / seconds:.1f}/s"
