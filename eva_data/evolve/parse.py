"""From a creator's reply to the text of a new prompt, or to the reason why it holds none.

A strategy names its parser. All of them first drop a reasoning model's thoughts, and all but the marked form
take off what chat models put around the text they were asked for: an announcement, a label, one pair of
quotation marks or a plain code fence.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from eva_data.calls import Unparsable, without_thoughts

Parser: TypeAlias = Callable[[str], "str | Unparsable"]

_OPEN, _CLOSE = "<new_prompt>", "</new_prompt>"
# Bounded, so that a reply of one endless line is read in linear time.
_ANNOUNCEMENT = re.compile(
    r"(?:(?:sure|certainly|of course|absolutely)\b[^\w\n]{0,4})?"
    r"(?:here(?:'s|\u2019s| is)|below is)\b[^\n]{0,120}"
    r"\b(?:prompt|instruction|query|request|version|rewrite|message)\b[^\n]{0,80}:[*_\s]*\n\s*",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"[#*_\s]{0,6}(?:rewritten|created|evolved|new) (?:prompt|response|message)[#*_]{0,3}:[*_]{0,3}\s*",
    re.IGNORECASE,
)
_QUOTES = (('"', '"'), ("“", "”"), ("«", "»"), ("「", "」"))
_FENCE = re.compile(r"```(?:text|plaintext|markdown|md)?[ \t]*\n(?P<inside>.*)\n```", re.DOTALL)


def _unquoted(text: str) -> str:
    for opening, closing in _QUOTES:
        inside = text[1:-1]
        if text.startswith(opening) and text.endswith(closing) and opening not in inside and closing not in inside:
            return inside.strip()
    return text


def _unfenced(text: str) -> str:
    match = _FENCE.fullmatch(text)
    return match["inside"].strip() if match and "```" not in match["inside"] else text


def _tidy(text: str) -> str:
    text = text.strip()
    for wrapping in (_ANNOUNCEMENT, _LABEL):
        match = wrapping.match(text)
        text = text[match.end() :] if match else text
    return _unquoted(_unfenced(text))


def bare(reply: str) -> str | Unparsable:
    """The whole reply is the prompt; where it is marked, what is between the markers."""
    if _OPEN in reply and _CLOSE in reply:
        return marked(reply)
    answer = without_thoughts(reply)
    return answer if isinstance(answer, Unparsable) else _tidy(answer)


def after(label: str) -> Parser:
    """What follows the last `label`, or all where there is none, as Distilabel's evolving tasks read it."""

    def parse(reply: str) -> str | Unparsable:
        answer = without_thoughts(reply)
        return answer if isinstance(answer, Unparsable) else _tidy(answer.split(label)[-1])

    return parse


def first_line(reply: str) -> str | Unparsable:
    """The first line that is not blank: one instruction per line, as Distilabel's SelfInstruct reads it."""
    answer = without_thoughts(reply)
    if isinstance(answer, Unparsable):
        return answer
    lines = _tidy(answer).split("\n", 1)
    return _unquoted(lines[0].strip())


def marked(reply: str) -> str | Unparsable:
    """What stands between the last <new_prompt> and the </new_prompt> after it."""
    answer = without_thoughts(reply)
    if isinstance(answer, Unparsable):
        return answer
    _, opening, rest = answer.rpartition(_OPEN)
    inside, closing, _ = rest.partition(_CLOSE)
    if not opening or not closing:
        return Unparsable(f"no text between {_OPEN} and {_CLOSE}")
    return inside.strip()
