"""Finds out if a sentence asks for something, and if a user or an assistant speaks in it.

A prompt is written in a user's voice. It asks, commands, states what its writer needs, or gives its reader a part to
play. An assistant asks about its own task: if the user would like something else, or which text it is to rewrite.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from eva_data.evolve.replies.possible import SENTENCES, has
from eva_data.evolve.replies.words import compiled, patterns, straight, words

MASK = "\ue000"
"""Replaces code and quotations, whose words are not the writer's own."""

_TEXTS = 16
"""The last so many texts are remembered masked, since several rules look at each of them."""
_FENCED = re.compile(r"(?:```|~~~).*?(?:```|~~~|\Z)", re.DOTALL)
_INLINE = re.compile(r"`[^`\n]+`")
_QUOTED = re.compile(
    r"\"[^\"\n]{1,400}\"|“[^”\n]{1,400}”|„[^“”\n]{1,400}[“”]|«[^»\n]{1,400}»|「[^」\n]{1,400}」|『[^』\n]{1,400}』"
    r"|(?<![\w'])'(?=\S)[^'\n]{2,400}(?<=\S)'(?!\w)|(?<!\w)‘[^’\n]{3,400}’(?!\w)"
)
_SENTENCE = re.compile(r"(?<=[.!?…؟।])[\"”»)*_]*\s+|(?<=[。！？])|\n+")
_SAID = re.compile(rf"[^\W_]|{MASK}")
_NUMBER = re.compile(r"^([^\S\n]*(?:\d{1,2}|[a-zA-Z])[.)])\s+", re.MULTILINE)

_LEAD = (
    r"(?:[\s>#*_(\[\ue000-]|\d{1,3}[.)]|[a-z][.)]\s)*"
    r"(?:(?:please|bitte|kindly|now|then|next|also|first|finally|and|ok|okay|hi|hey|hello|por favor|per favore|"
    r"s'il (?:te|vous) pla[iî]t|пожалуйста|und|et|y|e|proszę|step \d+|tasks?|instructions?|question|in \w+)"
    r"[,:.!]?\s+){0,3}"
)
_command = compiled(
    lambda: (
        rf"{_LEAD}(?:{words('commands')})\b(?!['’])"
        r"(?!\s+(?:is|are|was|were|has|can|will|of|ist|sind|war|est|es|è|é)\b)(?![:.]\w)(?!-\w)"
    )
)
_command_later = compiled(
    lambda: (
        rf"(?:[,;:–—{MASK}]|\s-)\s+(?:(?:please|and|then|bitte|und|et|y|e|i|и)\s+){{0,2}}"
        rf"(?:{words('commands')})\b(?!\s*[,:]|-\w|\s+(?:is|are|was|were|of|or|and)\b)"
    )
)
_part = compiled(lambda: rf"\W*(?:(?:{words('noun_commands')})\b\W{{0,3}}[:：]|act (?:[ivx]+|\d)\b)")
"""A word that can be a verb, but names a part of a text here: "Title: The River"."""
_STATEMENT = re.compile(
    r"(?!\W*(?:if|when|since|as|because|while|after|before|although|though|given|suppose|assum\w+|i|we|my|our|you)\b)"
    r".*\b(?:is|are|was|were|can|could|would|will|has|have|may|might|means|includes?|involves?)\b",
    re.IGNORECASE,
)
"""A statement, which may continue as a list: "One way is to mix it, let it stand"."""
_doing = compiled(lambda: words("doing"))
"""Verbs that begin advice as often as a request."""
_rhetorical = compiled(lambda: patterns("rhetorical"))
_OF_HIS_OWN = re.compile(r"\b(?:my|our|i (?:need|want|have|would like))\b|\bi'd like\b", re.IGNORECASE)
_salutation = compiled(lambda: rf"\W*(?:{patterns('salutations')}|{patterns('greetings')})")
_interjection = compiled(lambda: rf"\W*(?:{patterns('interjections')})")
_STAGE = re.compile(r"(?:[（(][^()（）\n]{2,40}[)）]|\*[^*\n]{2,60}\*)\s*\S")
"""A stage direction at the beginning."""
_advice = compiled(lambda: patterns("advice"))
_openers = compiled(
    lambda: (
        rf"[\s>#*_-]*(?:(?:in|on|at|for|to|from|with|by|of|about|under|so|and|but|then|à|de|en|pour|por|con|a|zu|für|mit|auf|von|in|с|в|на|о|для|из|za|na|w|z|op|met)\s+)?(?:{words('openers')})\b"
    )
)


@lru_cache(_TEXTS)
def masked(text: str) -> str:
    """The text with MASK in the place of each piece of code and each quotation within a line."""
    for pattern in (_FENCED, _INLINE, _QUOTED):
        text = pattern.sub(MASK, text)
    return straight(text)


@lru_cache(_TEXTS)
def sentences(text: str) -> tuple[str, ...]:
    """The sentences and lines of a masked text. Parts without a letter, a digit or MASK are left out."""
    joined = _NUMBER.sub(lambda found: found[1].replace(".", ")") + " ", text)
    return tuple(part.strip() for part in _SENTENCE.split(joined) if _SAID.search(part))


def is_question(sentence: str) -> bool:
    """Whether the sentence has a question mark and is not rhetorical."""
    return re.search(r"[?？؟](?![\w=&])", sentence) is not None and _rhetorical().match(sentence) is None


def is_offer(sentence: str) -> bool:
    """Whether an assistant speaks of its own task: it offers, invites, or asks for instructions."""
    return has("offers", sentence)


def begins_with_command(sentence: str) -> bool:
    """Whether the sentence begins with an imperative."""
    return _command().match(sentence) is not None and _part().match(sentence) is None


def is_advice(sentence: str) -> bool:
    """Whether the sentence gives advice or good wishes, as the end of an answer does."""
    return _advice().match(sentence) is not None


def is_command(sentence: str) -> bool:
    """Whether the sentence or one of its clauses begins with an imperative."""
    return begins_with_command(sentence) or _commands_later(sentence)


def _commands_later(sentence: str) -> bool:
    """Whether a later clause begins with an imperative. An item in a statement's list does not count."""
    found = _command_later().search(sentence)
    if found is None:
        return False
    return not found[0].startswith(",") or _STATEMENT.match(sentence[: found.start()]) is None


@dataclass(frozen=True)
class Asking:
    """The kind of request in a sentence. It is true if there is a request of any kind."""

    clearly: bool
    """The sentence asks a question, states a wish, or commands the reader to say or write something."""
    advising: bool
    """The sentence commands the reader to do something. It may be a request or advice."""

    def __bool__(self) -> bool:
        return self.clearly or self.advising


@lru_cache(SENTENCES)
def asking(sentence: str) -> Asking:
    """The kind of request in a sentence. An assistant's offer is no request."""
    if is_offer(sentence):
        return Asking(False, False)
    clearly: bool = is_question(sentence) or has("requests", sentence) or has("without_mark", sentence)
    if not clearly:
        command = _command().match(sentence)
        if command is None or _part().match(sentence) is not None:
            return Asking(False, _commands_later(sentence))
        clearly = _doing().fullmatch(_last_word(command[0])) is None
    return Asking(clearly, not clearly)


def plays_a_part(prose: Sequence[str], parent: str) -> bool:
    """Whether a text acts the part that its parent assigns: it greets or exclaims, and assigns no part itself."""
    if not has("casting", parent) or any(has("casting", each) for each in prose):
        return False
    if any(_OF_HIS_OWN.search(each) for each in prose) and any(asking(each).clearly for each in prose):
        return False
    acting = _STAGE.match(prose[0]) is not None or _interjection().match(prose[0]) is not None
    if acting and not any(asking(each).clearly and not is_question(each) for each in prose):
        return True
    if asking(prose[0]).clearly or any(map(is_command, prose[1:])):
        return False
    return re.search(r"[!！][\"”»)*_]*\Z", prose[0]) is not None or _salutation().match(prose[0]) is not None


def asks(sentence: str) -> bool:
    """Whether a user asks for something in this sentence."""
    return bool(asking(sentence))


def _last_word(command: str) -> str:
    words_of_it: list[str] = re.findall(r"\w+", command)
    return words_of_it[-1].lower()


def begins_as_question(sentence: str) -> bool:
    """Whether the sentence begins like a question and does not end like a statement. No question mark is needed."""
    if _rhetorical().match(sentence):
        return False
    return _openers().match(sentence) is not None and not sentence.rstrip().endswith((".", "。", "।", ":", "!"))
