"""Finds replies without a usable text: endless repetition, broken characters, a server's error, a placeholder.

A parent may ask for work on such a text. A fault of the text counts only if the parent does not have it too.
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
"""A text is a repetition if at least this share of its letters and digits stands in one repetition."""
_SPOILT = 0.1
"""A text is broken if at least this share of its characters is broken."""
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
    """The fault of a broken text. None if it has no fault, or if the parent has the same fault."""
    for what, found in (
        ("the text repeats itself", _repeats),
        ("the text consists of broken characters", _is_spoilt),
        ("the text is a server's error", _is_error),
        ("the text is a placeholder", is_placeholder),
    ):
        if found(text) and not found(parent):
            return what
    return None


def _repeats(text: str) -> bool:
    """Whether at least half of the text is one piece of up to 40 characters, repeated 8 times or more in a row."""
    whole = sum(map(str.isalnum, text))
    longest = max((sum(map(str.isalnum, found["all"])) for found in _REPEATED.finditer(text)), default=0)
    return longest > 0 and longest >= _HALF * whole


def _is_spoilt(text: str) -> bool:
    """Whether a text has many replacement characters, control characters or characters without a meaning."""
    shown = [character for character in text if not character.isspace()]
    none = sum(c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cn", "Co") for c in shown)
    return none > 1 and none >= _SPOILT * len(shown)


def _asks_more(sentence: str) -> bool:
    """Whether a sentence asks for more than another try, or is written in the first person, as a user writes."""
    return _OWN.search(sentence) is not None or (asks(sentence) and _TRY_AGAIN.search(sentence) is None)


def _is_error(text: str) -> bool:
    """Whether the text is a server's error message, or a JSON object with a key for an error."""
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
