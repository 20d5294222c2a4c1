"""Any text as Markdown that shows it and does nothing else: no markup, link, formula or table cell of its own."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 600
LINES = 10
"""Characters and lines shown of a text; the rest is counted."""

_LINE_END = re.compile("\r\n|[\n\r\v\f\x85\u2028\u2029]")
_ACTIVE = re.compile(r"[^\w .,;?'\"()/%+-]|(?<![^\W_])_|_(?![^\W_])|(?<=[wW]{3})\.")
"""Whatever could be more than itself inside a line of Markdown, HTML or LaTeX, and what is not ASCII."""
_PLAIN_CODE = re.compile(r"[\w./@:+=,;()\[\]{}#~^!?*&%<>'\"-]+( [\w./@:+=,;()\[\]{}#~^!?*&%<>'\"-]+)*", re.ASCII)
# They turn the direction of all text that follows them.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def prose(text: str) -> str:
    """The text as it reads, on one line: it can stand inside a line of a paragraph or of a table.

    Line ends become `<br>`, marks that mean something entities, control characters their code. What is beyond
    LONGEST characters or LINES lines is cut, and the length of all said; an empty text is called empty.
    """
    whole = text.strip()
    if not whole:
        return "*(empty)*"
    lines = _LINE_END.split(whole[:LONGEST])
    cut = f" *… (cut; {len(whole):,} characters in all)*" if len(whole) > LONGEST or len(lines) > LINES else ""
    return "<br>".join(_ACTIVE.sub(_inert, line) for line in lines[:LINES]).rstrip() + cut


def code(text: str) -> str:
    """A name as code; it can stand where `prose` can."""
    return f"`{text}`" if _PLAIN_CODE.fullmatch(text) else f"<code>{prose(text)}</code>"


def _inert(found: re.Match[str]) -> str:
    character = found[0]
    if character == "\t":
        return " "
    if unicodedata.category(character) in ("Cc", "Cs") or character in _DIRECTIONS:
        return f"&#92;u{ord(character):04x}"
    return f"&#{ord(character)};" if character.isascii() else character
