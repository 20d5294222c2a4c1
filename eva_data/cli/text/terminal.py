"""The console of tables, notes and bars: no text of others in them acts on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from eva_data.foreign import shown


class Terminal(Console):
    """A console on which a string is only itself: no control character, markup or emoji code of it has an effect."""

    def render_str(self, text: str, **how: Any) -> Text:
        return super().render_str(shown(text), **how | {"emoji": False, "markup": False})
