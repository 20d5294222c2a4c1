"""What ends an attempt inside its chain: rules on the reply, the strategy and the ancestors alone.

A reason is a word, for some followed by a colon and what was found:

    call_failed:<error>   the creator gave no reply
    content_filter        the server cut the reply
    truncated             the reply was cut at max_tokens
    unparsable:<why>      the reply is not in the form that was asked for, or not valid Unicode
    empty                 no letter and no digit is left
    unchanged             the parent again, but for case and white space
    copy_of_ancestor      an earlier prompt of the chain again, likewise
    template_words        words of the rewriting template that the parent does not have
    refusal               the creator declined to write a prompt
    too_short, too_long   characters of the rewritten turn
    no_strategy           no strategy of the method suits the prompt, so nothing was asked
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from eva_data.calls import Completion, Unparsable, valid_unicode
from eva_data.evolve.strategy import Strategy


@dataclass(frozen=True)
class Limits:
    """Characters that a rewritten user turn may have, both ends included."""

    min_characters: int
    max_characters: int


@dataclass(frozen=True)
class Ancestor:
    """An earlier prompt of the chain: its id, and its last user turn."""

    prompt_id: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """Why an attempt ends, and which prompt it repeats if that is the reason."""

    reason: str
    duplicate_of: str | None = None


# Only forms that cannot open a user's request: "I can't sleep" is a prompt, "I can't help with that" is not.
_REFUSAL = re.compile(
    r"(?:i['\u2019]?m|i am) (?:very |really |truly )?sorry,? (?:but|i can)"
    r"|(?:i (?:can['\u2019]t|cannot|can not|won['\u2019]t)|(?:i['\u2019]m|i am) (?:unable|not able) to)"
    r" (?:help|assist|comply|fulfil|rewrite|create|provide|generate|complete|do that)"
    r"|as an ai\b",
    re.IGNORECASE,
)


def read_reply(completion: Completion, strategy: Strategy) -> str | Verdict:
    """The new text that a completion holds, or why it holds none."""
    if completion.text is None or completion.finish_reason == "error":
        return Verdict(f"call_failed:{completion.error or 'the reply has no text'}")
    if completion.finish_reason == "content_filter":
        return Verdict("content_filter")
    if completion.finish_reason == "length":
        return Verdict("truncated")
    if valid_unicode(completion.text) != completion.text:
        return Verdict("unparsable:the reply is not valid Unicode")
    text = strategy.parse(completion.text)
    if isinstance(text, Unparsable):
        return Verdict(f"unparsable:{text.why}")
    return text if any(map(str.isalnum, text)) else Verdict("empty")


def judge(text: str, strategy: Strategy, ancestors: Sequence[Ancestor], limits: Limits) -> Verdict | None:
    """Why a new user turn is eliminated; None if it survives. The last ancestor is the parent."""
    squeezed, parent = _squeezed(text), ancestors[-1]
    if squeezed == _squeezed(parent.text):
        return Verdict("unchanged", parent.prompt_id)
    for ancestor in ancestors[:-1]:
        if squeezed == _squeezed(ancestor.text):
            return Verdict("copy_of_ancestor", ancestor.prompt_id)
    folded, folded_parent = text.casefold(), parent.text.casefold()
    for word in map(str.casefold, strategy.forbidden):
        if word in folded and word not in folded_parent:
            return Verdict("template_words")
    if _REFUSAL.match(text) and not _REFUSAL.match(parent.text):
        return Verdict("refusal")
    if len(text) < limits.min_characters:
        return Verdict("too_short")
    if len(text) > limits.max_characters:
        return Verdict("too_long")
    return None


def _squeezed(text: str) -> str:
    return " ".join(text.casefold().split())
