"""Tells a creator's refusal from a prompt with a similar beginning.

"I can't create a foreign key in PostgreSQL. How do I fix it?" is a prompt: a user asks for something. "I can't create
such a prompt. Would you like another?" is a refusal: an assistant speaks of its own task to the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from eva_data.evolve.replies.layout import ITEM
from eva_data.evolve.replies.possible import first_match, has
from eva_data.evolve.replies.requests import (
    asks,
    begins_with_command,
    is_command,
    is_offer,
    is_question,
    masked,
    sentences,
)
from eva_data.evolve.replies.words import compiled, patterns

_BEGINNING = 3
"""A refusal is looked for in so many sentences at the beginning."""
_SHORT = 5
"""A text of more sentences does not ask the user what to rewrite."""
_REACH = 160
"""A refusal is looked for in so many characters of a sentence."""

_apology = compiled(lambda: rf"\W*(?:oh,? |i'm |i am |so |very |but )?(?:{patterns('apologies')})")
_agreement = compiled(
    lambda: rf"(?:\W*(?:{patterns('agreements')}|{patterns('greetings')}|thanks?(?: you)?)\W*(?:there)?\W*){{1,3}}"
)
_DASH = re.compile(r"(?:——|—|\s[–-]\s)")
"""What stands before a dash can be a text that the user quotes."""


def is_refusal(text: str) -> bool:
    """Whether the writer of the text declines to write the prompt, and asks for nothing in a user's voice."""
    found = sentences(masked(text))
    if len(found) <= _SHORT and any(has("asks_for_task", sentence) for sentence in found):
        return True
    beginning = found[:_BEGINNING]
    declining = [number for number, sentence in enumerate(beginning) if _is_declining(sentence, beginning[:number])]
    if not declining:
        if all(map(_is_chatter, found)) and any(is_offer(each) or has("promises", each) for each in found):
            return True
        # "Rewriting this prompt could do harm" asks for nothing and speaks of the task itself.
        return not any(map(asks, found)) and any(has("own_task", sentence) for sentence in beginning)
    first = declining[0]
    own_task = has("own_task", found[first]) or _declines_all(found[first])
    own = own_task or any(_apology().match(sentence) for sentence in beginning[: first + 1])
    if any(asks(sentence) and not (own and _is_an_assistants(sentence)) for sentence in beginning[:first]):
        return False
    rest = found[first + 1 :]
    asking = [sentence for sentence in rest if asks(sentence) and not (own and _is_an_assistants(sentence))]
    if not asking:
        return True
    if not own_task or _in_own_words(asking):
        return False
    # A heading "Better ideas:" with a list of ideas.
    headed = any(sentence.endswith((":", "：")) for sentence in rest)
    return any(has("instead", sentence) for sentence in rest) or all(
        _is_polite_advice(sentence) or (headed and ITEM.match(sentence) and not is_question(sentence))
        for sentence in asking
    )


def _declines_all(sentence: str) -> bool:
    """Whether a sentence declines and names no object. It then declines the whole request."""
    declines = first_match("declines", sentence)
    return declines is not None and not re.search(r"\w", sentence[: declines.start()] + sentence[declines.end() :])


def _is_declining(sentence: str, before: Sequence[str]) -> bool:
    """Whether an assistant declines in this sentence. A user's question or command does not count."""
    if begins_with_command(sentence) or (is_question(sentence) and not is_offer(sentence)):
        return False
    quoted = _DASH.split(sentence, maxsplit=1)
    if len(quoted) == 2 and asks(quoted[1]) and not _is_an_assistants(quoted[1]):
        return False
    head = sentence[:_REACH]
    if is_command(sentence) and not has("own_task", head):
        return False
    declines = first_match("declines", head)
    if declines is None:
        # "I'm sorry. This is about weapons." has no verb of refusing, but speaks of the task.
        return _apology().match(head) is not None and has("own_task", head)
    apologised = _apology().match(head) is not None or any(_apology().match(each) for each in before)
    return apologised or has("own_task", sentence) or declines.start() < 60


def _is_chatter(sentence: str) -> bool:
    """Whether a sentence agrees, offers, promises the prompt, or asks which prompt the user wants."""
    if is_offer(sentence) or _agreement().fullmatch(sentence) is not None or has("to_you", sentence):
        return True
    promise = first_match("promises", sentence)
    return promise is not None and (not begins_with_command(sentence) or promise.start() == 0)


def _is_an_assistants(sentence: str) -> bool:
    """Whether a request is typical of an assistant that declines: to go elsewhere, or to choose something else."""
    if re.search(r"\bmy\b|\bi\b(?!(?:'d| can| could) (?:suggest|recommend))", sentence, re.IGNORECASE):
        return False
    return has("elsewhere", sentence) or has("to_you", sentence)


def _is_polite_advice(sentence: str) -> bool:
    """Whether a sentence begins with "please" and is no question: an assistant refers its user to others."""
    return re.match(
        r"\W*(?:please|kindly|bitte|veuillez|por favor|per favore|пожалуйста|请|請)\b", sentence, re.IGNORECASE
    ) is not None and not is_question(sentence)


def _in_own_words(sentences: Sequence[str]) -> bool:
    """Whether one of the sentences is in the first person."""
    return any(re.search(r"\b(?:i|my|me|we|our)\b", sentence, re.IGNORECASE) for sentence in sentences)
