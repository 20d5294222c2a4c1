"""The console for tables, notes and bars. No text of others in them can control the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from eva_data.cli.say import settle
from eva_data.foreign import shown


class Terminal(Console):
    """A console that prints strings literally: control characters, markup and emoji codes in them have no effect."""

    has_live_area = False
    """Whether a live area belongs to this console, which then prints above it. Others take it off first."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(shown(text), **how | {"emoji": False, "markup": False})

    def print(self, *objects: Any, **how: Any) -> None:
        if not self.has_live_area:
            settle()
        super().print(*objects, **how)
