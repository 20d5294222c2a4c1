"""Foreign text made safe to read: what could steer a terminal or hide a part of the text is written out."""

from __future__ import annotations

import re

# C0 and C1 controls with DEL; line and paragraph separators; marks, embeddings, overrides and isolates of writing
# direction; invisible spaces, operators and tags; half surrogate pairs. Not the joiners U+200C and U+200D, which
# emoji and several scripts need.
_HIDDEN = (
    r"\x00-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f"
)
HIDDEN = re.compile(f"[{_HIDDEN}]")
_HIDDEN_BUT_LINES = re.compile(rf"(?![\n\t])[{_HIDDEN}]")


def visible(text: str, *, lines: bool = False, longest: int | None = None) -> str:
    r"""The text with every control character and direction mark as an escape, such as `\x1b` or `\u202e`.

    `lines` leaves line ends and tabs as they are. What is beyond `longest` characters is cut, and said.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[:longest]}... ({len(text) - longest} characters more)"
    return (_HIDDEN_BUT_LINES if lines else HIDDEN).sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
