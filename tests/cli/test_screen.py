"""What a real terminal shows while stages run and after them."""

from __future__ import annotations

import os
import pty
import re
import select
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ

import pyte
import pytest

STAGES = """
from eva_data.cli.say import end_displays, say
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.cli.text.terminal import Terminal
from eva_data.calls import Used
reporter = ConsoleReporter()
if "foreseen" in __import__("sys").argv:
    reporter.foresee([("respond", 1), ("train", 1), ("estimate", 2), ("evolve", 2)])
tell = reporter.stage("respond", 1)
tell(0, 6)
__import__("time").sleep(0.2)
tell(6, 6, Used(600, 1.5))
reporter.stage("train", 1)
tell = reporter.stage("estimate", 2)
reporter.note("half of them")
tell(1, 6)
__import__("time").sleep(0.3)
tell(3, 6, Used(3_000, 0.25))
if "stay" in __import__("sys").argv:
    __import__("time").sleep(1)
    __import__("os")._exit(0)
for number in range({lines}):
    Terminal().print(f"line {number}")
say("Next: build")
end_displays()
"""


def screen(program: str, columns: int, lines: int, *arguments: str) -> list[str]:
    """The lines that the screen holds at the end of a program, without the empty ones; older ones scrolled away."""
    parent, child = pty.openpty()
    ioctl(child, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    outer = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=outer | {"TERM": "xterm-256color"},
        stdin=child,
        stdout=child,
        stderr=child,
    )
    os.close(child)
    shown = pyte.Screen(columns, lines)
    stream = pyte.ByteStream(shown)
    while select.select([parent], [], [], 60)[0]:
        try:
            part = os.read(parent, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        stream.feed(part)
    os.close(parent)
    process.wait(60)
    return [line.rstrip() for line in shown.display if line.strip()]


@pytest.mark.parametrize(("columns", "lines"), [(100, 40), (80, 10)])
def test_the_report_stays_on_the_screen_below_one_line_per_stage(columns: int, lines: int) -> None:
    shown = screen(STAGES.replace("{lines}", "3"), columns, lines)
    # Times differ from run to run.
    heads = [line.split(" in ")[0].split(": < ")[0].split(": 0 ")[0] for line in shown]
    assert heads == [
        "iteration 1: respond: 6",
        "iteration 1: train",
        "Note: half of them",
        "iteration 2: estimate: 3 of 6",
        "line 0",
        "line 1",
        "line 2",
        "Next: build",
    ]


@pytest.mark.parametrize(("columns", "lines"), [(100, 40), (80, 10)])
def test_the_last_lines_of_a_long_report_are_not_overwritten(columns: int, lines: int) -> None:
    shown = screen(STAGES.replace("{lines}", "60"), columns, lines)
    # The cursor stands in the last line of the screen.
    kept = lines - 2
    assert shown[-kept - 1 :] == [*(f"line {number}" for number in range(60 - kept, 60)), "Next: build"]


@pytest.mark.parametrize(("columns", "lines"), [(100, 40), (80, 10)])
def test_the_stage_at_work_is_in_the_last_line_of_a_screen(columns: int, lines: int) -> None:
    shown = screen(STAGES, columns, lines, "stay")
    assert shown[-1].startswith("iteration 2: estimate ━") and " 3/6, " in shown[-1]
    assert sum("━" in line for line in shown) == 1


def starred(line: str) -> str:
    """A line with stars in the place of rates and times, which differ from run to run."""
    return re.sub(r"[\d,.]+/s|[\d,.]+ tokens/s|[\d.]+ s each|< 1 s|\b\d+ s\b", "*", line)


@pytest.mark.parametrize(("columns", "lines"), [(100, 40), (80, 10), (66, 10)])
def test_below_it_are_all_stages_with_dollars_and_the_time_left(columns: int, lines: int) -> None:
    shown = screen(STAGES, columns, lines, "stay", "foreseen")
    plain = [starred(line) for line in shown]
    assert plain[-2].startswith("iteration 2: estimate ━")
    # In a short line, what matters least is left out.
    assert plain[-2].endswith(" 3/6, *, *, $0.2500, * left" if columns >= 80 else " 3/6, *, $0.2500, * left")
    # Two of four stages, and half of the third. Nothing is known of the time of `evolve`.
    bar = "━{12}─{8}" if columns >= 80 else "━{10}─{6}"
    assert re.fullmatch(rf"all stages {bar} stage 3 of 4, \$1.75, \* left or more", plain[-1]), plain[-1]
    assert not any("stage 3 of 4" in line for line in shown[:-1])


def test_without_a_terminal_each_stage_is_plain_lines() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STAGES.replace("{lines}", "1"), "foreseen"], capture_output=True, text=True, check=True
    )
    assert "\x1b" not in done.stderr and "\r" not in done.stderr
    heads = [starred(line) for line in done.stderr.splitlines()]
    assert heads == [
        "iteration 1: respond (stage 1 of 4)",
        "iteration 1: respond: 6/6, *, *, $1.50",
        "iteration 1: train (stage 2 of 4, $1.50)",
        "iteration 2: estimate (stage 3 of 4, $1.50)",
        "Note: half of them",
    ]
    assert done.stdout == "line 0\nNext: build\n"


def test_a_terminal_breaks_sentences_between_words_and_a_pipe_keeps_them_whole() -> None:
    sentence = " ".join(f"word{number}" for number in range(30))
    program = f"from eva_data.cli.text.terminal import Terminal\nTerminal().print({sentence!r}, soft_wrap=True)"
    shown = screen(program, 80, 10)
    assert len(shown) > 1 and " ".join(shown) == sentence
    piped = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert piped.stdout == f"{sentence}\n"


NOTEBOOK = """
class ZMQInteractiveShell:
    pass
__builtins__.get_ipython = ZMQInteractiveShell
"""
"""What rich takes for a notebook."""


def test_in_a_notebook_no_line_is_html_or_controls_anything() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK + STAGES.replace("{lines}", "1"), "foreseen"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "line 0\nNext: build\n"
    assert done.stderr.startswith("iteration 1: respond (stage 1 of 4)\n") and "\x1b" not in done.stderr
