"""Tells a reply in which no text is left: repetition without end, characters that are none, a server's error, a
placeholder.

All are measured on the text itself and compared with the parent, which may want such a text worked on.
"""

from __future__ import annotations

import json
import re
import unicodedata
from http import HTTPStatus

from eva_data.evolve.replies.chatter import is_placeholder
from eva_data.evolve.replies.requests import asks, sentences

_REPEATED = re.compile(r"(?=(\S.{0,39}?)\s*(?:\1\s*){7})(?P<all>\1\s*(?:\1\s*)+)", re.DOTALL)
_HALF = 0.5
"""Share of a text's letters and digits that stand in one repetition, from which nothing else counts."""
_SPOILT = 0.1
"""Share of characters that are none."""
_ERRORS = frozenset({"error", "errors", "detail", "exception", "traceback"})

_STATUS = "|".join(f"{status.value} {status.phrase}" for status in HTTPStatus if status >= 400)
_MESSAGE = re.compile(
    rf"(?:[\w .]{{0,24}}\berror(?: code)?\b[^\w\n]{{0,3}}(?:\d{{3}}\b|:)|(?:http )?(?:{_STATUS}))",
    re.IGNORECASE,
)
_TRY_AGAIN = re.compile(r"\b(?:try|retry|wait|contact|check|see)\b", re.IGNORECASE)
_OWN = re.compile(r"\b(?:i|my|me|we|our)\b", re.IGNORECASE)
_LONGEST_MESSAGE = 300
"""Characters."""


def what_is_broken(text: str, parent: str) -> str | None:
    """What makes the text no text at all; None if nothing does, or the parent is of that kind too."""
    for what, found in (
        ("the text repeats itself", _repeats),
        ("the text consists of characters that are none", _is_spoilt),
        ("the text is a server's error", _is_error),
        ("the text is a placeholder", is_placeholder),
    ):
        if found(text) and not found(parent):
            return what
    return None


def _repeats(text: str) -> bool:
    """Whether one piece of up to forty characters, eight times and more in a row, makes up half of the text."""
    whole = sum(map(str.isalnum, text))
    longest = max((sum(map(str.isalnum, found["all"])) for found in _REPEATED.finditer(text)), default=0)
    return longest > 0 and longest >= _HALF * whole


def _is_spoilt(text: str) -> bool:
    shown = [character for character in text if not character.isspace()]
    none = sum(c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cn", "Co") for c in shown)
    return none > 1 and none >= _SPOILT * len(shown)


def _asks_more(sentence: str) -> bool:
    """Whether a sentence asks for more than another try, or speaks of its writer, as a user's does."""
    return _OWN.search(sentence) is not None or (asks(sentence) and _TRY_AGAIN.search(sentence) is None)


def _is_error(text: str) -> bool:
    """Whether the text is a server's message, or a JSON object that names an error and holds but data about it."""
    if _MESSAGE.match(text) and len(text) <= _LONGEST_MESSAGE and not any(map(_asks_more, sentences(text))):
        return True
    if not (text.startswith("{") and text.endswith("}")):
        return False
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        return False
    if not isinstance(value, dict):
        return False
    return any(str(key).lower() in _ERRORS for key in value) or value.get("object") == "error"
