"""Text that others wrote, made safe to print: servers, models, datasets and reviewers have no say over a terminal.

A control character can move the cursor, change the title, hide what stands before it or turn the reading direction of
a line. Everything that eva-data prints or displays goes through `shown`.
"""

from __future__ import annotations

import re

_ACTIVE = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and line feed, DEL, C1
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # reading direction
    "\u00ad\u180e\u200b\u2028\u2029\u2060-\u2065\u206a-\u206f\ufeff\ufff9-\ufffb"  # invisible, or a line end to some
    "\U000e0000-\U000e0fff"  # tags, which hide whole sentences
    "\ud800-\udfff"  # lone surrogates, which no stream can encode
    "]"
)
"""Zero-width joiners are left: emoji and several scripts need them."""


def shown(text: str) -> str:
    """The text with every active or invisible character as its escape, such as `\\x1b`; tabs and line ends stay.

    A second call changes nothing.
    """
    return _ACTIVE.sub(_escape, text.replace("\r\n", "\n"))


def shown_in_line(text: str) -> str:
    """The same on one line: line ends and tabs are escapes too, so that nothing can pose as a line of ours."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def cut(text: str, characters: int, lines: int) -> str:
    """The text, or its beginning and how long all of it is, where it has more characters or lines."""
    kept = "\n".join(text.split("\n")[:lines])[:characters]
    return text if kept == text else f"{kept}… ({len(text):,} characters in all, `--full` prints them)"


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
