"""Turns any text into Markdown that only shows the text. The text adds no markup, link, formula or table cell."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 600
LINES = 10
"""So many characters and lines of a text are shown. The rest is counted."""

_LINE_END = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_ACTIVE = re.compile(r"[^\w .,;?'\"()/%+-]|(?<![^\W_])_|_(?![^\W_])|(?<=[wW]{3})\.")
"""Characters with a meaning inside a line of Markdown, HTML or LaTeX, and characters outside ASCII."""
_PLAIN_CODE = re.compile(r"[\w./@:+=,;()\[\]{}#~^!?*&%<>'\"-]+( [\w./@:+=,;()\[\]{}#~^!?*&%<>'\"-]+)*", re.ASCII)
# These characters change the direction of all following text.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def prose(text: str) -> str:
    """The text on one line, as a reader sees it, for use inside a paragraph or a table.

    Line ends become `<br>`, characters with a meaning become entities, and control characters become their codes. A
    text is cut after LONGEST characters or LINES lines, and its length is stated. An empty text is called empty.
    """
    whole = text.strip()
    if not whole:
        return "*(empty)*"
    lines = _LINE_END.split(whole[:LONGEST])
    cut = f" *… (cut; {len(whole):,} characters in all)*" if len(whole) > LONGEST or len(lines) > LINES else ""
    return "<br>".join(_ACTIVE.sub(_inert, line) for line in lines[:LINES]).rstrip() + cut


def code(text: str) -> str:
    """A name as code, for the same places as `prose`."""
    return f"`{text}`" if _PLAIN_CODE.fullmatch(text) else f"<code>{prose(text)}</code>"


def _inert(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\t":
        return " "
    if unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTIONS:
        return f"&#92;u{ord(character):04x}"
    return f"&#{ord(character)};" if character.isascii() else character
