"""Reads the text of a new prompt from a creator's reply, or the reason why it holds none.

A strategy names its parser. All parsers first drop a reasoning model's thoughts. The parsers of the marked and the JSON
form then take the text between the delimiters, character for character. The other parsers remove the words that chat
models put around the requested text (`evolve.replies`).
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
    """The text between the markers, or else the whole reply."""
    answer = thoughtless(reply)
    if isinstance(answer, Unparsable):
        return answer
    if answer.lstrip().startswith(OPEN) or (OPEN in answer and answer.rstrip().endswith(CLOSE)):
        inside = between_markers(answer)
        return bare_text(answer) if isinstance(inside, Unparsable) else inside
    return bare_text(answer)


def after(label: str) -> Parser:
    """A parser of the text after the last `label`, or else of the whole reply, as in Distilabel's evolving tasks."""

    # The label stands near the beginning of a line, perhaps with other marks.
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
    """The first instruction; each line is an instruction, as in Distilabel's SelfInstruct."""
    answer = thoughtless(reply)
    return answer if isinstance(answer, Unparsable) else first_item(bare_text(answer))


def marked(reply: str) -> str | Unparsable:
    """The text between <new_prompt> and </new_prompt>."""
    answer = thoughtless(reply)
    return answer if isinstance(answer, Unparsable) else between_markers(answer)


def structured(reply: str) -> str | Unparsable:
    """The text in the requested JSON object, or else the text between the markers."""
    answer = thoughtless(reply)
    if isinstance(answer, Unparsable):
        return answer
    text = json_text(answer)
    if isinstance(text, Unparsable) and OPEN in answer:
        return between_markers(answer)
    return text
