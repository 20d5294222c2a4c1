"""Finds the text of the prompt in a reply. Removes thoughts, then chat tokens, then layers around the text."""

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
"""Characters. No prompt is longer, and reading a longer reply could take hours."""
_BLANK = re.compile(r"\s{1000}")
"""A broken model can write endless white space. Searching it for words could take hours."""


def thoughtless(reply: str) -> str | Unparsable:
    """The answer after a model's thoughts, without the tokens of its chat template."""
    if len(reply) > LONGEST:
        return Unparsable(f"the reply has more than {LONGEST:,} characters")
    reply = reply.rstrip()
    if _BLANK.search(reply):
        return Unparsable("the reply has a thousand white spaces in a row")
    answer = without_thoughts(reply)
    if isinstance(answer, Unparsable):
        return answer
    answer = without_chat_tokens(answer)
    # Tokens before the thoughts can have hidden them.
    return without_thoughts(answer)


def bare_text(answer: str) -> str:
    """The text without its layers. A reply without layers only loses the blanks around it."""
    text = without_edges(answer)
    for _ in range(_LAYERS):
        inner = without_edges(without_chatter(unwrapped(text)))
        if inner == text or not inner:
            break
        text = inner
    return text


def first_item(text: str) -> str:
    """The first of several instructions, one a line. If the first line only introduces the others, all lines."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        return ""
    first = without_list_mark(lines[0])
    if first != lines[0] and (second := _SECOND.search(text)) is not None:
        # The first item reaches to the second mark. It may contain code and empty lines.
        return bare_text(without_list_mark(text[: second.start()].strip()))
    if len(lines) > 1 and (first.rstrip().endswith((":", "：")) or first.lstrip().startswith("```")):
        return without_list_mark(text)
    return bare_text(first)


def without_list_mark(text: str) -> str:
    """The text without the bullet, number or name of an item."""
    found = _LIST_MARK.match(text)
    return text[found.end() :] if found else text
