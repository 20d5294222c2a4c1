"""Shows the progress of a build: live lines below the finished stages on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from eva_data.calls import StageProgress, Used
from eva_data.cli.say import end_before_printing, sentence
from eva_data.cli.text.terminal import Terminal
from eva_data.foreign import shown_in_line
from eva_data.report.figures import duration
from eva_data.report.underway import LINE_SECONDS, NOTHING, Underway, ended_line, label, lines_of

BAR, LEAST_BAR = 20, 5
"""Cells of a progress bar, at most and at least; there is none where fewer are left."""


class ConsoleReporter:
    """Reports to standard error, so that standard output holds only results."""

    def __init__(self) -> None:
        self._console = Terminal(stderr=True)
        self._underway = Underway()
        self._live: Live | None = None

    def foresee(self, stages: Sequence[tuple[str, int]]) -> None:
        self._underway.foresee(stages)

    def stage(self, name: str, iteration: int) -> StageProgress:
        name = shown_in_line(name)
        if sys.stderr.isatty():
            return self._bar(name, iteration)
        return lines_of(self._underway, name, iteration, self._say)

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

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)

    def _bar(self, name: str, iteration: int) -> StageProgress:
        self._end()
        stage = self._underway.begin(name, iteration)
        self._live = Live(_Lines(self._underway), console=self._console, transient=True, refresh_per_second=4)
        self._live.start()
        end_before_printing(self._end)

        def tell(done: int, total: int, used: Used = NOTHING, /) -> None:
            if self._underway.stage is stage:
                self._underway.tell(done, total, used)

        return tell

    def _end(self) -> None:
        """Put the line of the ended stage into the place of the live ones. A second call does nothing."""
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        ended = self._underway.end()
        if ended is not None:
            self._say(ended_line(ended, self._underway.clock()))


class _Lines:
    """The live lines: the stage at work, and below it all stages if they were foreseen."""

    def __init__(self, underway: Underway) -> None:
        self._underway = underway

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        stage, now = self._underway.stage, self._underway.clock()
        if stage is None:
            return
        # A full line would make some terminals begin another.
        width = options.max_width - 1
        marks = ("#", ".") if options.ascii_only else ("━", "─")
        if stage.done is None:
            said = {"count": f"starting, {duration(stage.seconds(now))}"}
        else:
            said = {"count": f"{stage.done}/{stage.total}", **stage.figures(now)}
        yield _line(label(stage.step), stage.share, said, width, marks)
        if place := self._underway.figures():
            yield _line("all stages", self._underway.share, {"place": ", ".join(place)}, width, marks)


def _line(head: str, share: float, figures: dict[str, str], width: int, marks: tuple[str, str]) -> Text:
    """Head, bar and figures in one line. What matters least is left out where the line is short."""
    for least in ("tokens", "rate", "dollars"):
        if len(head) + 1 + LEAST_BAR + 1 + len(_said(figures)) > width:
            figures = {name: text for name, text in figures.items() if name != least}
    said = _said(figures)
    cells = min(BAR, width - len(head) - len(said) - 2)
    line = Text(head, no_wrap=True, overflow="ellipsis")
    if cells >= LEAST_BAR:
        done = round(cells * share)
        line.append(" ").append(marks[0] * done, "green").append(marks[1] * (cells - done), "bright_black")
    line.append(f" {said}")
    line.truncate(width, overflow="ellipsis")
    return line


def _said(figures: dict[str, str]) -> str:
    return ", ".join(figures.values())
