"""The console for tables, notes and bars. No text of others in them can control the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from eva_data.cli.say import end_displays
from eva_data.foreign import shown


class Terminal(Console):
    """A console that prints strings literally: control characters, markup and emoji codes in them have no effect."""

    def __init__(self, *, stderr: bool = False) -> None:
        # A notebook would get HTML, in which the escapes of `render_str` would be missing.
        super().__init__(stderr=stderr, force_jupyter=False)

    def print(self, *objects: Any, **how: Any) -> None:
        # Only the reporter writes to standard error, and the live display is its own.
        if not self.stderr:
            end_displays()
        if self.is_terminal:
            # A terminal gets lines that end between words, and a file or pipe whole sentences.
            how = how | {"soft_wrap": False}
        super().print(*objects, **how)

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(shown(text), **how | {"emoji": False, "markup": False})
