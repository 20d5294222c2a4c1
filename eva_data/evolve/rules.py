"""The rules that end an attempt inside its chain. They use only the reply, the strategy and the ancestors.

A reason is a word; some reasons continue with a colon and particulars:

    call_failed:<error>   the creator gave no reply
    content_filter        the server cut the reply
    truncated             the reply was cut at max_tokens
    unparsable:<why>      the reply is not in the form that was asked for, not valid Unicode, or no text at all
    empty                 no letter and no digit is left
    unchanged             the parent again, apart from case and white space
    copy_of_ancestor      an earlier prompt of the chain again, apart from case and white space
    template_words        words of the rewriting template that the parent does not have
    too_short, too_long   the rewritten turn has too few or too many characters
    refusal               the creator declined to write a prompt, or asked for one
    answer                the creator answered the prompt, or another prompt, and wrote none
    other_language        the new turn is in another language than its parent
    checked_no_prompt     the creator, asked about it, says that it is no prompt (`self_check`)
    unchecked:<why>       the creator, asked about it, gave no verdict
    no_strategy           no strategy of the method suits the prompt, so nothing was asked
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from eva_data.calls import Completion, Unparsable, valid_unicode
from eva_data.evolve.replies.answers import is_answer
from eva_data.evolve.replies.broken import what_is_broken
from eva_data.evolve.replies.languages import is_other_language
from eva_data.evolve.replies.markers import CLOSE, OPEN, has_left_over
from eva_data.evolve.replies.refusals import is_refusal
from eva_data.evolve.replies.requests import masked
from eva_data.evolve.strategy import Strategy

_ROLES = ("user", "assistant", "system", "model")
"""What is left of a reply that held only the beginnings of turns."""


@dataclass(frozen=True)
class Limits:
    """The least and the most characters of a rewritten user turn."""

    min_characters: int
    max_characters: int


@dataclass(frozen=True)
class Ancestor:
    """An earlier prompt of the chain: its id and its last user turn."""

    prompt_id: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """Why an attempt ends, and which prompt it repeats, if that is the reason."""

    reason: str
    duplicate_of: str | None = None


def read_reply(completion: Completion, strategy: Strategy) -> str | Verdict:
    """The new text in a completion, or why it holds none."""
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
    return text if any(map(str.isalnum, text)) and text.strip() not in _ROLES else Verdict("empty")


def judge(text: str, strategy: Strategy, ancestors: Sequence[Ancestor], limits: Limits) -> Verdict | None:
    """Why a new user turn is eliminated, or None if it survives. The last ancestor is the parent."""
    squeezed, parent = _squeezed(text), ancestors[-1]
    if squeezed == _squeezed(parent.text):
        return Verdict("unchanged", parent.prompt_id)
    for ancestor in ancestors[:-1]:
        if squeezed == _squeezed(ancestor.text):
            return Verdict("copy_of_ancestor", ancestor.prompt_id)
    if any(_has_template_word(text, word, parent.text) for word in strategy.forbidden):
        return Verdict("template_words")
    if _width(text) < limits.min_characters:
        return Verdict("too_short")
    if len(text) > limits.max_characters:
        return Verdict("too_long")
    if strategy.pose is not None:
        # The rest is about what models write in the place of a prompt.
        return None
    if (broken := what_is_broken(text, parent.text)) is not None:
        return Verdict(f"unparsable:{broken}")
    if is_refusal(text) and not is_refusal(parent.text):
        return Verdict("refusal")
    if is_answer(text, parent.text):
        return Verdict("answer")
    if is_other_language(text, parent.text):
        return Verdict("other_language")
    return None


def _has_template_word(text: str, word: str, parent: str) -> bool:
    """Whether a reply talks about the rewriting: "the Given Prompt" or a marker does, "a given prompt" does not."""
    if word.casefold() in parent.casefold():
        return False
    if word in (OPEN, CLOSE):
        return has_left_over(text)
    said = masked(text)
    if "#" in word or not word.startswith("given "):
        return word.casefold() in said.casefold()
    return word.title() in said or word.upper() in said


def _width(text: str) -> int:
    """Characters, those of wide writings counted twice: a question of eight Han characters is a whole one."""
    if text.isascii():
        return len(text)
    wide = (number for c, number in Counter(text).items() if unicodedata.east_asian_width(c) in "WF")
    return len(text) + sum(wide)


def _squeezed(text: str) -> str:
    return " ".join(text.casefold().split())
