"""Draw the pictures of README from a real run in the sandbox: python docs/pictures.py

docs/build-live.svg    the terminal of 80 columns and 10 lines while `eva-data run` works
docs/build-end.svg     the terminal of 100 columns and 40 lines at its end
docs/show-page.png     the top of the page of `eva-data show --html`, by Chromium

It needs the dev packages and Chromium, and takes about four minutes.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
from fcntl import ioctl
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from termios import TIOCSWINSZ
from typing import Any

import pyte
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.style import Style
from rich.text import Text

DOCS = Path(__file__).parent
RUN = ("run", "--iters", "2", "--set", "seeds.sandbox=60")
LIVE = re.compile(r"iteration 2: estimate .* \d+/\d+, .* left")
"""The line while theta_1 answers."""
NAMES = {"default": None, "brown": "yellow", "brightblack": "bright_black"}
"""Colours of pyte by the names that rich has for them."""


def shown(columns: int, lines: int, folder: Path, *, until: re.Pattern[str] | None = None) -> list[Text]:
    """What the terminal of RUN in a folder shows at its end, or when a line meets `until`, where the run is ended."""
    parent, child = pty.openpty()
    ioctl(child, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    outer = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "eva_data", *RUN]
    process = subprocess.Popen(
        command, cwd=folder, env=outer | {"TERM": "xterm-256color"}, stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    screen = pyte.Screen(columns, lines)
    stream, met = pyte.ByteStream(screen), False
    while select.select([parent], [], [], 600)[0]:
        try:
            part = os.read(parent, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        stream.feed(part)
        met = until is not None and any(until.search(line) for line in screen.display)
        if met:
            process.send_signal(signal.SIGINT)
            break
    found = coloured(screen)
    os.close(parent)
    if process.wait() and not met:
        raise SystemExit("the run failed:\n" + "\n".join(screen.display))
    return found


def coloured(screen: pyte.Screen) -> list[Text]:
    """The lines of a screen with their colours, up to the last line that is not empty."""
    lines = []
    for row in range(screen.lines):
        line = Text()
        for look, cells in groupby((screen.buffer[row][column] for column in range(screen.columns)), key=_look):
            line.append("".join(cell.data for cell in cells), look)
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


def _look(cell: Any) -> Style:
    colour = f"#{cell.fg}" if re.fullmatch(r"[0-9a-f]{6}", cell.fg) else NAMES.get(cell.fg, cell.fg)
    return Style(color=colour, bold=cell.bold, italic=cell.italics)


def draw(lines: list[Text], columns: int, title: str, path: Path) -> None:
    """Write the lines as an SVG that loads nothing."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line, no_wrap=True, crop=True)
    svg = console.export_svg(title=title)
    path.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), encoding="utf-8")


def photograph(page: Path, path: Path, *, width: int, height: int) -> None:
    """Write the top of a page as Chromium shows it."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": width, "height": height})
        tab.goto(page.as_uri())
        tab.screenshot(path=path)
        browser.close()


def main() -> None:
    title = f"eva-data {' '.join(RUN)}"
    with TemporaryDirectory() as live, TemporaryDirectory() as whole:
        draw(shown(80, 10, Path(live), until=LIVE), 80, title, DOCS / "build-live.svg")
        draw(shown(100, 40, Path(whole)), 100, title, DOCS / "build-end.svg")
        subprocess.run([sys.executable, "-m", "eva_data", "show", "--iter", "2", "--html"], cwd=whole, check=True)
        page = Path(whole, "data", "eva-sandbox", "show_iter_2.html")
        photograph(page, DOCS / "show-page.png", width=1000, height=1000)


if __name__ == "__main__":
    main()
