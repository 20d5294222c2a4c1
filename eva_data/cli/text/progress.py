"""Shows the progress of a build: one live line on a terminal, else a line from time to time."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Callable

from rich.progress import BarColumn, Progress, TextColumn

from eva_data.cli.say import sentence, settled_by
from eva_data.cli.text.terminal import Terminal
from eva_data.foreign import shown_in_line
from eva_data.jobs.job import Progress as Tell

LINE_SECONDS = 15.0
"""Seconds between two lines of one stage if there is no terminal."""


class ConsoleReporter:
    """Reports to standard error, so that standard output holds only results."""

    def __init__(self) -> None:
        self._console = Terminal(stderr=True)
        self._area: _Area | None = None

    def stage(self, name: str, iteration: int) -> Tell:
        label = shown_in_line(f"iteration {iteration}: {name}" if iteration else name)
        if not sys.stderr.isatty():
            return self._lines(label)
        if self._area is None:
            self._area = _Area(self._console)
        return self._area.begin(label)

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

    def _lines(self, label: str) -> Tell:
        self._console.print(label, soft_wrap=True, markup=False, highlight=False)
        begun = said = time.monotonic()

        def tell(done: int, total: int) -> None:
            nonlocal said
            now = time.monotonic()
            if done < total and now - said < LINE_SECONDS:
                return
            said = now
            text = f"{label}: {done}/{total}, {_rate(done, begun)}{_left(done, total, begun)}"
            self._console.print(text, soft_wrap=True, markup=False, highlight=False)

        return tell


class _Area:
    """One line at the bottom of a terminal: the stage at work. A finished stage scrolls away as a line of its own."""

    def __init__(self, console: Terminal) -> None:
        self._console = console
        self._bars: Progress | None = None
        self._label: str | None = None
        self._begun = 0.0
        self._seen = (0, 0)
        settled_by(self.settle)
        atexit.register(self.settle)

    def begin(self, label: str) -> Tell:
        self._end()
        if self._bars is None:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=16),
                TextColumn("{task.fields[state]}"),
                console=self._console,
                transient=True,
            )
            self._console.has_live_area = True
            self._bars.start()
        self._label, self._begun, self._seen = label, time.monotonic(), (0, 0)
        bars, begun = self._bars, self._begun
        task = bars.add_task(label, total=None, state="starting")

        def tell(done: int, total: int) -> None:
            self._seen = (done, total)
            state = f"{done}/{total}, {_rate(done, begun)}{_left(done, total, begun)}"
            bars.update(task, completed=done, total=total, state=state)

        return tell

    def settle(self) -> None:
        """End the stage at work and take the area off the terminal. The next stage begins another."""
        self._end()
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
            self._console.has_live_area = False

    def _end(self) -> None:
        if self._label is None or self._bars is None:
            return
        for task in self._bars.task_ids:
            self._bars.remove_task(task)
        (done, total), label, self._label = self._seen, self._label, None
        seconds = time.monotonic() - self._begun
        text = f"{done}/{total} in {_time(seconds)}, {_rate(done, self._begun)}" if total else "there already"
        self._console.print(f"{label}: {text}", soft_wrap=True, markup=False, highlight=False)


def _left(done: int, total: int, begun: float) -> str:
    """How long the rest takes at the rate so far; empty at the beginning and at the end."""
    return f", {_time((total - done) * (time.monotonic() - begun) / done)} left" if 0 < done < total else ""


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _rate(done: int, begun: float) -> str:
    return f"{done / max(time.monotonic() - begun, 1e-3):.1f}/s"
