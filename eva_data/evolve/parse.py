"""From a creator's reply to the text of a new prompt, or to the reason why it holds none.

A strategy names its parser. All of them first drop a reasoning model's thoughts. Those of the marked and the JSON
form then take what stands between the delimiters, character for character; the others take off what chat models put
around the text they were asked for (`evolve.replies`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from eva_data.calls import Unparsable
from eva_data.evolve.replies.markers import CLOSE, OPEN, between_markers, json_text
from eva_data.evolve.replies.reading import bare_text, first_item, thoughtless

Parser: TypeAlias = Callable[[str], "str | Unparsable"]

_GIVEN = re.compile(r"\b(?:given|original)\b", re.IGNORECASE)
"""A label with this word names the prompt that was rewritten."""


def bare(reply: str) -> str | Unparsable:
    """The whole reply is the prompt; where it is marked, what is between the markers."""
    answer = thoughtless(reply)
    if isinstance(answer, Unparsable):
        return answer
    if answer.lstrip().startswith(OPEN) or (OPEN in answer and answer.rstrip().endswith(CLOSE)):
        inside = between_markers(answer)
        return bare_text(answer) if isinstance(inside, Unparsable) else inside
    return bare_text(answer)


def after(label: str) -> Parser:
    """What follows the last `label`, or all where there is none, as Distilabel's evolving tasks read it."""

    # At the beginning of a line, in whatever else the creator writes it with.
    written = re.compile(rf"^[^\n]{{0,30}}{re.escape(label)}[*_#]{{0,3}}[ \t]*\n?", re.MULTILINE)

    def parse(reply: str) -> str | Unparsable:
        answer = thoughtless(reply)
        if isinstance(answer, Unparsable):
            return answer
        labels = list(written.finditer(answer))
        # A creator that goes on repeats its template, or shows the prompt that it was given.
        ends = [label.start() for label in labels[1:]] + [len(answer)]
        parts = (
            [
                answer[label.end() : end]
                for label, end in zip(labels, ends, strict=True)
                if _GIVEN.search(label[0]) is None and answer[label.end() : end].strip()
            ]
            if labels
            else []
        )
        return bare_text(parts[-1] if parts else answer[labels[-1].end() :] if labels else answer)

    return parse


def first_line(reply: str) -> str | Unparsable:
    """The first instruction: one per line, as Distilabel's SelfInstruct reads it."""
    answer = thoughtless(reply)
    return answer if isinstance(answer, Unparsable) else first_item(bare_text(answer))


def marked(reply: str) -> str | Unparsable:
    """What stands between <new_prompt> and </new_prompt>."""
    answer = thoughtless(reply)
    return answer if isinstance(answer, Unparsable) else between_markers(answer)


def structured(reply: str) -> str | Unparsable:
    """The text of the JSON object that was asked for; where there is none, that between the markers."""
    answer = thoughtless(reply)
    if isinstance(answer, Unparsable):
        return answer
    text = json_text(answer)
    if isinstance(text, Unparsable) and OPEN in answer:
        return between_markers(answer)
    return text
