"""Finds replies without a usable text: endless repetition, broken characters, a server's error, a placeholder.

A parent may ask for work on such a text. A fault of the text counts only if the parent does not have it too.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from http import HTTPStatus
from itertools import pairwise

from eva_data.evolve.replies.chatter import is_placeholder
from eva_data.evolve.replies.requests import asks, sentences

_REPEATED = re.compile(r"(?=(\S.{0,39}?)\s*(?:\1\s*){7})(?P<all>\1\s*(?:\1\s*)+)", re.DOTALL)
_HALF = 0.5
"""A text is a repetition if at least this share of its letters and digits stands in one repetition."""
_SPOILT = 0.1
"""A text is broken if at least this share of its characters is broken."""
_OFTEN = 4
_DOUBLED = 0.25
"""A text is a repetition if at least this share of its words follows itself."""
_FEW_LETTERS = 0.2
_ARTICLES = frozenset({"the", "a", "an"})
_JOINING = frozenset({"and", "or", "but"})
_SMALL = _ARTICLES | _JOINING | frozenset("of to by for with into which as at in on from is was were it if".split())  # noqa: SIM905
"""Small words of English. None of them follows an article."""
_ERRORS = frozenset({"error", "errors", "detail", "exception", "traceback"})

_STATUS = "|".join(f"{status.value} {status.phrase}" for status in HTTPStatus if status >= 400)
_MESSAGE = re.compile(
    rf"(?:[\w .]{{0,24}}\berror(?: code)?\b[^\w\n]{{0,3}}(?:\d{{3}}\b|:)|(?:http )?(?:{_STATUS})"
    r"|(?:the )?(?:request|connection|gateway|upstream|server|api|model|service|rate|worker)\b[^.,;?!\n]{0,30}"
    r"\b(?:timed out|timeout|overloaded|unavailable|refused|reset|aborted|exceeded|rate.limited|too many requests)"
    r"|(?:请求失败|請求失敗|服务器?(?:错误|繁忙|不可用)|サーバー?エラー|내부 서버 오류)"
    r"|you (?:have )?exceeded your (?:current )?(?:quota|limit))",
    re.IGNORECASE,
)
_TRY_AGAIN = re.compile(
    r"\b(?:try|retry|wait|contact|check|see|reduce|shorten)\b|请?稍后|重试|再试|後ほど|다시 시도", re.IGNORECASE
)
_OWN = re.compile(r"\b(?:i|my|me|we|our)\b", re.IGNORECASE)
_LONGEST_MESSAGE = 300
"""Characters."""


def what_is_broken(text: str, parent: str) -> str | None:
    """The fault of a broken text. None if it has no fault, or if the parent has the same fault."""
    for what, found in (
        ("the text repeats itself", _repeats),
        ("the text consists of broken characters", _is_spoilt),
        ("the text is no language", _is_salad),
        ("the text consists of signs", _is_signs),
        ("the text is a server's error", _is_error),
        ("the text is a placeholder", is_placeholder),
    ):
        if found(text) and not found(parent):
            return what
    return None


def _repeats(text: str) -> bool:
    """Whether at least half of the text is one piece of up to 40 characters, repeated 8 times or more in a row."""
    whole = sum(map(str.isalnum, text))
    if _repeats_words(text):
        return True
    longest = max((sum(map(str.isalnum, found["all"])) for found in _REPEATED.finditer(text)), default=0)
    return longest > 0 and longest >= _HALF * whole


def _repeats_words(text: str) -> bool:
    """Whether most sentences are one sentence, or many words or Han characters stand twice in a row."""
    said = [sentence.casefold() for sentence in sentences(text)]
    if len(said) >= _OFTEN and max(Counter(said).values()) > _HALF * len(said):
        return True
    parts: list[str] = re.findall(r"[\u4e00-\u9fff]|[^\W\d_]+|[^\w\s]", text)
    doubled = sum(first == second and first.isalpha() for first, second in pairwise(parts))
    return doubled >= _OFTEN and doubled >= _DOUBLED * len(parts)


def _is_spoilt(text: str) -> bool:
    """Whether a text has many replacement characters, control characters or characters without a meaning."""
    shown = [character for character in text if not character.isspace()]
    none = sum(c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cn", "Co") for c in shown)
    return none > 1 and none >= _SPOILT * len(shown)


def _is_salad(text: str) -> bool:
    """Whether many words of a text are small English words in an order that no sentence has: "the of", "and and"."""
    words = re.findall(r"[^\W\d_]+|[^\w\s]", text)
    pairs = sum(1 for pair in pairwise(words) if _is_no_pair(*pair))
    return pairs > 1 and pairs >= _SPOILT * len(words)


def _is_no_pair(first: str, second: str) -> bool:
    return (
        (first.lower() in _ARTICLES and second in _SMALL)
        or (first == second and first in _SMALL)
        or (first in _JOINING and second in _JOINING and (first, second) != ("and", "or"))
    )


def _is_signs(text: str) -> bool:
    """Whether a short text has words, but far more signs than letters, and no digits between them."""
    shown = [character for character in text if not character.isspace()]
    letters = sum(map(str.isalpha, shown))
    return (
        len(shown) <= _LONGEST_MESSAGE and letters < _FEW_LETTERS * len(shown) and not re.search(r"[^\W\d_]{3}", text)
    )


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
    return (
        any(str(key).lower() in _ERRORS for key in value)
        or value.get("object") == "error"
        or ({"message", "code"} <= value.keys() <= {"message", "code", "type", "param", "status", "request_id"})
    )
