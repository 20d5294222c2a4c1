"""Draw the pictures of README from a real run in the sandbox: python docs/pictures.py

docs/build-live.svg    the terminal of 80 columns and 10 lines while `eva-data run` works
docs/build-end.svg     the terminal of 100 columns and 40 lines at its end
docs/show-page.png     the top of the page of `eva-data show --html`, by Chromium

It needs the dev packages and Chromium, and takes about two minutes.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from tempfile import TemporaryDirectory
from termios import TIOCSWINSZ

import pyte
from playwright.sync_api import sync_playwright
from rich.console import Console
from rich.style import Style
from rich.text import Text

DOCS = Path(__file__).parent
RUN = ("run", "--iters", "2", "--set", "seeds.sandbox=60")
LIVE = re.compile(r"iteration 2: respond .* \d+/\d+, .* left")
"""A line while the solver answers the evolved prompts."""
NAMES = {"default": None, "brown": "yellow", "brightblack": "bright_black"}
"""Colours of pyte by the names that rich has for them."""


def screens(words: tuple[str, ...], columns: int, lines: int, folder: Path) -> tuple[list[Text], list[Text]]:
    """What the terminal of a command shows when LIVE is first met, and at the end."""
    parent, child = pty.openpty()
    ioctl(child, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    outer = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, "-m", "eva_data", *words]
    process = subprocess.Popen(
        command, cwd=folder, env=outer | {"TERM": "xterm-256color"}, stdin=child, stdout=child, stderr=child
    )
    os.close(child)
    screen = pyte.Screen(columns, lines)
    stream, live = pyte.ByteStream(screen), list[Text]()
    while select.select([parent], [], [], 600)[0]:
        try:
            part = os.read(parent, 65536)
        except OSError:  # Linux says so at the end
            break
        if not part:
            break
        stream.feed(part)
        if not live and any(LIVE.search(line) for line in screen.display):
            live = coloured(screen)
    os.close(parent)
    if process.wait():
        raise SystemExit(f"`eva-data {' '.join(words)}` failed:\n" + "\n".join(screen.display))
    return live, coloured(screen)


def coloured(screen: pyte.Screen) -> list[Text]:
    """The lines of a screen with their colours, up to the last line that is not empty."""
    lines = []
    for row in range(screen.lines):
        line = Text()
        for column in range(screen.columns):
            cell = screen.buffer[row][column]
            colour = (
                None if cell.fg == "default" else f"#{cell.fg}" if re.fullmatch(r"[0-9a-f]{6}", cell.fg) else cell.fg
            )
            colour = {"brown": "yellow", "brightblack": "bright_black"}.get(colour or "", colour)
            line.append(cell.data, Style(color=colour, bold=cell.bold, italic=cell.italics))
        line.rstrip()
        lines.append(line)
    while lines and not lines[-1].plain:
        lines.pop()
    return lines


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
    with TemporaryDirectory() as work:
        shown = f"eva-data {' '.join(RUN)}"
        small, large = Path(work, "small"), Path(work, "large")
        small.mkdir()
        live, _ = screens(RUN, 80, 10, small)
        draw(live, 80, shown, DOCS / "build-live.svg")
        # The ledger of the first run answers the second at once.
        shutil.copytree(small / "data", large / "data", ignore=shutil.ignore_patterns("manifests"))
        _, end = screens(RUN, 100, 40, large)
        draw(end, 100, shown, DOCS / "build-end.svg")
        subprocess.run([sys.executable, "-m", "eva_data", "show", "--iter", "2", "--html"], cwd=small, check=True)
        page = small / "data" / "eva-sandbox" / "show_iter_2.html"
        photograph(page, DOCS / "show-page.png", width=1000, height=760)


if __name__ == "__main__":
    main()
