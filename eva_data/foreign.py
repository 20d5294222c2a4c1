"""Makes text of others (servers, models, datasets, reviewers) safe to show, so that it cannot control a terminal.

A control character can move the cursor, change the title, hide the text before it or turn the reading direction of
a line. Everything that eva-data prints or displays goes through `shown`, `shown_in_line` or `visible`.
"""

from __future__ import annotations

import re

# C0 and C1 controls with DEL; the soft hyphen; line and paragraph separators; marks, embeddings, overrides and isolates
# of writing direction; invisible spaces, operators and tags; half surrogate pairs. Not the joiners U+200C and U+200D,
# which emoji and several scripts need.
_HIDDEN = (
    r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e0fff"
)
HIDDEN = re.compile(f"[{_HIDDEN}]")
_HIDDEN_BUT_LINES = re.compile(rf"(?![\n\t])[{_HIDDEN}]")


def visible(text: str, *, lines: bool = False, longest: int | None = None) -> str:
    r"""The text with every control character and direction mark as an escape, such as `\x1b` or `\u202e`.

    `lines` leaves line ends and tabs as they are. Text beyond `longest` characters is cut, and the cut is marked.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]}... ({len(text) - longest} characters more)"
    return (_HIDDEN_BUT_LINES if lines else HIDDEN).sub(_escaped, text)


def shown(text: str) -> str:
    """The text with every active or invisible character as an escape, such as `\\x1b`; tabs and line ends stay.

    A second call changes nothing.
    """
    return visible(text.replace("\r\n", "\n"), lines=True)


def shown_in_line(text: str) -> str:
    """The same on one line: line ends and tabs are escapes too, so that no text can pose as a line of eva-data."""
    return visible(text.replace("\r\n", "\n"))


def cut(text: str, characters: int, lines: int) -> str:
    """The text; if it has more characters or lines, its beginning and the length of the whole."""
    kept = "\n".join(text.split("\n")[:lines])[:characters]
    return text if kept == text else f"{kept}… ({len(text):,} characters in all, `--full` prints them)"


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if found[0] in "\n\t":
        return "\\n" if found[0] == "\n" else "\\t"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
