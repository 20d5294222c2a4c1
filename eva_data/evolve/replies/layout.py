"""The form of a text: its sentences, the request in each sentence, and the items of its lists."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eva_data.evolve.replies.requests import MASK, Asking, asking, is_offer, sentences
from eva_data.evolve.replies.words import compiled, patterns

ITEM = re.compile(
    r"[ \t]*(?:[-*•–]|\d{1,2}[.)]|#{1,4}|\|)\s+\S|[ \t]*\*\*[^*\n]{1,240}(?::\*\*|\*\*\s?(?:[:–—-]|$))"
    r"|[^\n|]+\|[^\n|]+\|?"
)
"""A line of a list, a heading, or a row of a table."""
_greeting = compiled(lambda: patterns("greetings"))
_genre = compiled(lambda: patterns("genres"))
_named_text = compiled(lambda: patterns("named_texts"))
_GERUND = re.compile(
    r"\W*(?:calculat|compar|convert|count|creat|describ|design|explain|find|generat|mak|plan|rewrit|solv|sort|summari[sz]|"
    r"translat|writ)ing\b[^.?!,;:]{3,80}[.!]?\s*",
    re.IGNORECASE,
)
"""A task named by its verb: "Converting 85 F to Celsius"."""
_FINITE = re.compile(
    r"\b(?:is|are|was|were|has|have|can|will|would|should|could|makes?|takes?|helps?|needs?|requires?|gives?|means)\b",
    re.IGNORECASE,
)
_STATES_ELSEWHERE = re.compile(r"\s+(?:ist|sind|war|est|sont|es|son|è|sono|é|são|—|is|zijn)\b", re.IGNORECASE)
_STATING = re.compile(r"\b(?:is|are|was|were|has|have|had|can|will)\b", re.IGNORECASE)
_STATES = re.compile(rf"(?:\s+\w+ing)?\s+(?:by\b|{_STATING.pattern})", re.IGNORECASE)
"""The predicate of a statement about the thing that was named: "Prompt engineering is the practice"."""


@dataclass(frozen=True)
class Layout:
    """The form of a text."""

    prose: tuple[str, ...]
    """The sentences outside lists, without an assistant's offers."""
    asking: tuple[Asking, ...]
    """The request in each sentence of `prose`."""
    items: int
    """The number of items in lists."""
    questions: int
    """The number of items that are questions."""
    code: bool
    """Whether the text begins with code or a quotation and goes on after it."""


def shape_of(hidden: str) -> Layout:
    """The form of a masked text."""
    lines = hidden.split("\n")
    items = [line for line in lines if ITEM.match(line)]
    rest = "\n".join(line for line in lines if not ITEM.match(line))
    prose = tuple(each for each in sentences(rest) if not is_offer(each) and _greeting().fullmatch(each) is None)
    return Layout(
        prose,
        tuple(map(asking, prose)),
        len(items),
        sum(1 for item in items if item.rstrip().endswith(("?", "？", "؟"))),
        hidden.strip().startswith(MASK) and len(hidden.strip()) > 1,
    )


def is_noun_phrase(sentence: str) -> bool:
    """Whether a sentence names the wanted text and nothing else: "A riddle about a clock, in four lines"."""
    if _GERUND.fullmatch(sentence) and _FINITE.search(sentence) is None:
        return True
    other = _named_text().match(sentence)
    if other is not None:
        return _STATES_ELSEWHERE.match(sentence[other.end() :]) is None
    named = _genre().match(sentence)
    if named is None or not sentence.replace(MASK, "").isascii():
        return False
    return _STATING.search(named[0]) is None and _STATES.match(sentence[named.end() :]) is None
