"""Finds replies without a usable text: endless repetition, broken characters, a server's error, a placeholder.

A parent may ask for work on such a text. A fault of the text counts only if the parent does not have it too.
"""

from __future__ import annotations

import json
import re
import unicodedata
from http import HTTPStatus
from itertools import groupby

from eva_data.evolve.replies.chatter import is_placeholder
from eva_data.evolve.replies.requests import asking, asks, masked, sentences
from eva_data.evolve.replies.words import compiled, patterns

_LONGEST_PIECE, _TIMES = 40, 8
"""Characters of a piece that is repeated, and how often it stands in a row."""
_REPEATED = re.compile(
    rf"(?=(\S.{{0,{_LONGEST_PIECE - 1}}}?)\s*(?:\1\s*){{{_TIMES - 1}}})(?P<all>\1\s*(?:\1\s*)+)", re.DOTALL
)
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
_TRY_AGAIN = re.compile(
    r"\b(?:try|retry|wait|contact|check|see|reduce|shorten|lower|increase)\b|"
    r"再试|重试|稍后|erneut|später|réessay|plus tard|inténtelo|más tarde|riprova|più tardi|tente novamente|mais tarde|"
    r"попробуйте|повторите|позже|再試行|しばらく|다시 시도|나중에|لاحق|पुनः प्रयास|opnieuw|później|tekrar deneyin",
    re.IGNORECASE,
)
_errors = compiled(lambda: rf"\W*(?:{patterns('errors')})")
_instructs = compiled(lambda: rf"\W*(?:please )?(?:{patterns('instructs')})")
_BLANKS = re.compile(r"(?<![\w\])])\[\s*(?:\.{3}|…|[^\W\d][^\[\]\n.=\"'(]{1,30})\s*\](?![(\[])|\{\{[^{}\n]{2,30}\}\}")
"""Unfilled places, such as "[TOPIC]"."""
_SPEAKS_OF_BLANKS = re.compile(
    r"\b(?:template|placeholder|bracket|parentes|klammer|tussen haakjes|nawias|köşeli|"
    r"fill|blank|variable|vorlage|platzhalter|modèle|crochet|plantilla|corchete|"
    r"modello|segnaposto|modelo|colchete|шаблон|скобк)|模板|占位|括号|括弧|テンプレート|빈칸|괄호|템플릿|قالب|टेम्पलेट",
    re.IGNORECASE,
)
_WORD_AGAIN = re.compile(r"(?<!\w)([^\W\d_]{3,})(?:[\s,;]+\1){4,}\W*\Z", re.IGNORECASE)
_UNKNOWN = re.compile(r"<(?:unk|mask)>(?:\s*<(?:unk|mask)>)+")
_MARKUP = re.compile(r"(?<!\S)(?:/{3,}|%{3,}|\${3,}|&?nbsp;|#{7,}|~{4,}|\^{3,}|@{3,})(?!\S)")
_MANY = 4
"""A sentence that occurs so often is a repetition if it is half of the text."""
_WHOLE = 15
"""Characters. A shorter sentence may be repeated."""
_OWN = re.compile(r"\b(?:i|my|me|we|our)\b", re.IGNORECASE)
_LONGEST_MESSAGE = 300
"""Characters."""


def what_is_broken(text: str, parent: str) -> str | None:
    """The fault of a broken text. None if it has no fault, or if the parent has the same fault."""
    for what, found in (
        ("the text repeats itself", _repeats),
        ("the text repeats a sentence", _repeats_a_sentence),
        ("the text is the instruction to rewrite", _is_instruction),
        ("the text has places that are not filled in", _has_blanks),
        ("the text consists of broken characters", _is_spoilt),
        ("the text is a server's error", _is_error),
        ("the text is a placeholder", is_placeholder),
    ):
        if found(text) and not found(parent):
            return what
    return None


def _repeats(text: str) -> bool:
    """Whether at least half of the text is one piece of up to 40 characters, repeated 8 times or more in a row."""
    said = "".join(filter(str.isalnum, text))
    if not _may_repeat(said):
        return False
    longest = max((sum(map(str.isalnum, found["all"])) for found in _REPEATED.finditer(text)), default=0)
    return longest > 0 and longest >= _HALF * len(said)


def _may_repeat(said: str) -> bool:
    """Whether letters and digits can hold eight times a piece of up to 40 in a row that is half of them.

    Such a row reaches from the middle a quarter of the way to one side at least, and there repeats itself.
    """
    middle, quarter = len(said) // 2, len(said) // 4
    sides = (said[middle - quarter : middle], said[middle : middle + quarter])
    lengths = range(1, min(_LONGEST_PIECE, len(said) // _TIMES) + 1)
    return any(side[length:] == side[:-length] for length in lengths for side in sides)


def _repeats_a_sentence(text: str) -> bool:
    """Whether one sentence, four times in a row, is half of the text, or one word, five times in a row, ends it."""
    hidden = masked(text)
    if _WORD_AGAIN.search(hidden):
        return True
    said = sentences(hidden)
    runs = [(sentence, len(list(run))) for sentence, run in groupby(said)]
    most = max((number for sentence, number in runs if len(sentence) > _WHOLE), default=0)
    return most >= _MANY and most >= _HALF * len(said)


def _is_instruction(text: str) -> bool:
    """Whether the text asks for the rewriting itself and shows no other prompt."""
    hidden = masked(text)
    return _instructs().match(hidden) is not None and hidden == text and "\n" not in text.strip() and ":" not in text


def _has_blanks(text: str) -> bool:
    """Whether a short text asks for something with two or more unfilled places, and does not speak of a template."""
    said = sentences(text)
    if len(said) > 2 or masked(text) != text or _SPEAKS_OF_BLANKS.search(text):
        return False
    return len(set(_BLANKS.findall(text))) >= 2 and any(asking(sentence).clearly for sentence in said)


def _is_spoilt(text: str) -> bool:
    """Whether a text has many characters or marks without a meaning."""
    if _UNKNOWN.search(text) or len(_MARKUP.findall(masked(text))) >= 3:
        return True
    spoilt = (c for c in set(text) if c == "\ufffd" or unicodedata.category(c) in ("Cc", "Cn", "Co"))
    none = sum(text.count(character) for character in spoilt if not character.isspace())
    return none > 1 and none >= _SPOILT * len("".join(text.split()))


def _asks_more(sentence: str) -> bool:
    """Whether a sentence asks for more than another try, or is written in the first person, as a user writes."""
    return _OWN.search(sentence) is not None or (asks(sentence) and _TRY_AGAIN.search(sentence) is None)


def _is_error(text: str) -> bool:
    """Whether the text is a server's error message, or a JSON object with a key for an error."""
    if (
        (_MESSAGE.match(text) or _errors().match(text))
        and len(text) <= _LONGEST_MESSAGE
        and not any(map(_asks_more, sentences(text)))
    ):
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
