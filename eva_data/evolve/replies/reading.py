"""Finds the text of the prompt in a reply: thoughts, chat tokens and layers around it come off in turn."""

from __future__ import annotations

import re

from eva_data.calls import Unparsable
from eva_data.evolve.replies.chatter import without_chatter
from eva_data.evolve.replies.wrapping import unwrapped, without_chat_tokens, without_edges
from eva_data.thoughts import without_thoughts

_LAYERS = 6
_LIST_MARK = re.compile(
    r"\s*(?:[・•‣▪●○]\s*|(?:[-*–]|\(?\d{1,2}[.)、]|\*\*\d{1,2}[.)]?\*\*|\d{1,2}\s?[:：])\s+|"
    r"(?:\*\*)?(?:(?:user )?(?:query|instruction|prompt)\s?#?\s?\d{0,2}|(?:question|q)\s?#?\s?\d{1,2})"
    r"[:：.](?:\*\*)?\s+)(?=\S)",
    re.IGNORECASE,
)

_SECOND = re.compile(r"\n[ \t]*(?:\*\*)?\(?2[.)、]\s*(?:\*\*)?(?=\S)")
"""The mark of the second item of a numbered list."""


LONGEST = 200_000
"""Characters. No prompt is that long: who sends more wants to be read for hours."""
_BLANK = re.compile(r"\s{1000}")
"""Models that have lost their thread write white space without end; what looks for words in it looks for hours."""


def thoughtless(reply: str) -> str | Unparsable:
    """The answer behind a model's thoughts, without the tokens of its chat template."""
    if len(reply) > LONGEST:
        return Unparsable(f"the reply has more than {LONGEST:,} characters")
    reply = reply.rstrip()
    if _BLANK.search(reply):
        return Unparsable("the reply has a thousand white spaces in a row")
    answer = without_thoughts(reply)
    if isinstance(answer, Unparsable):
        return answer
    answer = without_chat_tokens(answer)
    # The tokens may have stood before the thoughts.
    return without_thoughts(answer)


def bare_text(answer: str) -> str:
    """The text in all its wrappings, bared; a reply that is the prompt comes back but for blank edges."""
    text = without_edges(answer)
    for _ in range(_LAYERS):
        inner = without_edges(without_chatter(unwrapped(text)))
        if inner == text or not inner:
            break
        text = inner
    return text


def first_item(text: str) -> str:
    """The first of several instructions, one on each line; all lines where the first only leads to them."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return ""
    first = without_list_mark(lines[0])
    if first != lines[0] and (second := _SECOND.search(text)) is not None:
        # What stands between the first mark and the second, code and empty lines included.
        return bare_text(without_list_mark(text[: second.start()].strip()))
    if len(lines) > 1 and (first.rstrip().endswith((":", "：")) or first.lstrip().startswith("```")):
        return without_list_mark(text)
    return bare_text(first)


def without_list_mark(text: str) -> str:
    """The text without the bullet, number or name of an item."""
    found = _LIST_MARK.match(text)
    return text[found.end() :] if found else text
