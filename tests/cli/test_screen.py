"""What a real terminal holds while a build works and after it: read from the screen, not from what was written."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte

BUILD = """
from rich.table import Table

from eva_data.cli.say import say
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.cli.text.terminal import Terminal

reporter = ConsoleReporter()
for stage in ("respond", "reward", "evolve"):
    tell = reporter.stage(stage, 1)
    if stage != "evolve":
        for done in (0, 50, 100):
            tell(done, 100)
    reporter.note(f"a note on {stage}")
tell = reporter.stage("train", 1)
tell(2, 4)
LAST
"""
REPORT = """
table = Table(title="flow")
table.add_column("rows")
for number in range(3):
    table.add_row(str(number))
Terminal().print(table)
say("Next: eva-data train --iter 1")
"""


def screen(columns: int, rows: int, code: str, folder: Path) -> list[str]:
    """The lines on a terminal of this size, with those that scrolled away above them, after a program has ended."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=environment | {"TERM": "xterm-256color", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        close_fds=True,
    )
    os.close(theirs)
    shown = pyte.HistoryScreen(columns, rows, history=500)
    stream = pyte.ByteStream(shown)
    while True:
        try:
            read = os.read(ours, 4096)
        except OSError:
            # Linux says so when the last process has left the terminal.
            break
        if not read:
            break
        stream.feed(read)
    os.close(ours)
    assert child.wait(60) == 0
    above = ["".join(line[place].data for place in range(columns)).rstrip() for line in shown.history.top]
    return [line for line in [*above, *(line.rstrip() for line in shown.display)] if line]


def without_times(lines: list[str]) -> list[str]:
    return [line.partition(" in ")[0] if line.startswith("iteration") else line for line in lines]


def test_finished_stages_stay_as_lines_and_the_report_is_not_overwritten(tmp_path: Path) -> None:
    for columns, rows in ((100, 40), (80, 10)):
        lines = without_times(screen(columns, rows, BUILD.replace("LAST", REPORT), tmp_path))
        assert lines == [
            "Note: a note on respond",
            "iteration 1: respond: 100/100",
            "Note: a note on reward",
            "iteration 1: reward: 100/100",
            "Note: a note on evolve",
            "iteration 1: evolve: there already",
            "iteration 1: train: 2/4",
            "  flow",
            "┏━━━━━━┓",
            "┃ rows ┃",
            "┡━━━━━━┩",
            "│ 0    │",
            "│ 1    │",
            "│ 2    │",
            "└──────┘",
            "Next: eva-data train --iter 1",
        ], (columns, rows)


def test_the_stage_at_work_is_the_last_line_even_on_a_short_terminal(tmp_path: Path) -> None:
    wait = "import os, time\ntime.sleep(0.5)\nos._exit(0)"
    for columns, rows in ((100, 40), (80, 6)):
        last = screen(columns, rows, BUILD.replace("LAST", wait), tmp_path)[-1]
        assert last.startswith("iteration 1: train ━━━━━━━━")
        assert " 2/4, " in last and last.endswith(" left")
