"""How a text is set out: its sentences, what each of them asks, and the items of its lists."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eva_data.evolve.replies.requests import MASK, Asking, asking, is_offer, sentences
from eva_data.evolve.replies.words import compiled, patterns

ITEM = re.compile(
    r"[ \t]*(?:[-*•–]|\d{1,2}[.)]|#{1,4}|\|)\s+\S|[ \t]*\*\*[^*\n]{1,240}(?::\*\*|\*\*\s?(?:[:–—-]|$))"
    r"|[^\n|]+\|[^\n|]+\|?"
)
"""A line of a list, a heading, or the row of a table."""
_greeting = compiled(lambda: patterns("greetings"))
_genre = compiled(lambda: patterns("genres"))
_STATING = re.compile(r"\b(?:is|are|was|were|has|have|had|can|will)\b", re.IGNORECASE)
_STATES = re.compile(rf"(?:\s+\w+ing)?\s+(?:by\b|{_STATING.pattern})", re.IGNORECASE)
"""A clause that states something of what was named: "Prompt engineering is the practice"."""


@dataclass(frozen=True)
class Layout:
    """How a text is set out."""

    prose: tuple[str, ...]
    """Sentences that are not items of a list, without an assistant's offers."""
    asking: tuple[Asking, ...]
    """What each of them asks."""
    items: int
    questions: int
    """Items that are questions."""
    code: bool


def shape_of(hidden: str) -> Layout:
    """The shape of a masked text."""
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
    """Whether a sentence only names what is wanted: "A riddle whose answer is a clock, in four lines"."""
    named = _genre().match(sentence)
    if named is None or not sentence.replace(MASK, "").isascii():
        return False
    return _STATING.search(named[0]) is None and _STATES.match(sentence[named.end() :]) is None
