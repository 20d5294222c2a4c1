"""Tells an answer from a prompt: an answer asks for nothing, or asks only in the middle of an explanation.

Only sentences, lists and code can be answers. A few words without a verb ("A poem on rain") are a prompt. The place of
a request counts: a prompt asks in its first or its last sentences. An answer opens with "Yes," or "Here are three
ways:", contains lists, and gives its reader advice in the imperative.
"""

from __future__ import annotations

import re

from eva_data.evolve.replies.layout import ITEM, Layout, is_noun_phrase, shape_of
from eva_data.evolve.replies.possible import has
from eva_data.evolve.replies.requests import (
    MASK,
    asking,
    begins_as_question,
    begins_with_command,
    is_advice,
    is_question,
    masked,
    plays_a_part,
    sentences,
)
from eva_data.evolve.replies.words import compiled, patterns, straight

_agreeing = compiled(lambda: rf"\W*(?:{patterns('agreeing')})")
_opening = compiled(lambda: rf"\W*(?:{patterns('opening')})")
_labelled_task = compiled(lambda: patterns("tasks"), re.IGNORECASE | re.MULTILINE)
_letter = compiled(lambda: patterns("letters"), re.IGNORECASE | re.DOTALL)
_code = compiled(lambda: patterns("code"))
_EQUATION = re.compile(r"\W*[\d.,]+ ?[^\n=≈]{0,20}[=≈] ?[\d.,]+")
_you_can = compiled(lambda: rf"\W*(?:{patterns('you_can')})")
_SHELL = re.compile(
    r"(?:\$ )?(?:sudo )?(?:find|grep|awk|sed|ls|cat|git|docker|pip|npm|curl|tar|chmod|kubectl|"
    r"ssh|du|df|sort|xargs|echo)"
    r"\s[^\n]*(?:\s-{1,2}\w|\s\|\s)[^\n]*"
)
"""A command line of a shell."""
_VERSE = re.compile(
    r"(?:《[^》\n]{1,12}》\s*)?"
    r"(?:(?:[\u4e00-\u9fff]{5}(?:[，。！？；,]\s*|\n|\Z)){4,}|(?:[\u4e00-\u9fff]{7}(?:[，。！？；,]\s*|\n|\Z)){4,})"
)
"""Lines of five or seven characters, as in a classical poem."""
_first_step = compiled(lambda: rf"\W*(?:{patterns('first_step')})")
_because = compiled(lambda: rf"\W*(?:{patterns('because')})")
_EXPLAINING = re.compile(r"\W*(?:to|in order to|there are) ", re.IGNORECASE)
_answer_label = compiled(
    lambda: (
        rf"(?:\A|\n)[#*_\s>]{{0,8}}(?:{patterns('answers')})[*_#\s]{{0,4}}\d{{0,2}}[*_]{{0,2}}\s?[:：][*_]{{0,3}}"
        r"[ \t]*(?P<text>[^\n]*)(?P<more>.*)"
    ),
    re.IGNORECASE | re.DOTALL,
)
_question_label = compiled(lambda: patterns("question_labels"))
_VALUE = re.compile(r"(?:[\w ]{2,24}: )?\S+|[A-Z][\w ]{1,24}: \S+ \S+", re.ASCII)
"""A single word, path or number, with or without a name before it."""
_WIDE = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]{2,}")
_ECHO = 0.6
"""A first sentence repeats the parent's request if at least this share of its words is in the parent."""
_TO_BE_CONTINUED = re.compile(r"\n[^\n]{0,40}[:：]\s*\Z")
"""The text ends in a label without a value, such as examples of which the reader is to complete the last."""
_OPTIONS = re.compile(
    r"^\(?A[.):] ?\S[^\n]*\n+\(?B[.):] ?\S|"
    r"\?[^?]*^(?P<name>statement|option|choice) (?:1|I|A): ?\S[^\n]*\n+(?P=name) (?:2|II|B): ?\S",
    re.MULTILINE | re.IGNORECASE,
)
"""Options A and B, or statements after a question: the text is a multiple-choice question."""
_MANY_WORDS = 20
"""A text that begins with its whole parent of so many words is a longer form of it."""
_USERS_OWN = re.compile(r"\b(?:i|my|me)\b", re.IGNORECASE)
_NUMBERED_NAME = re.compile(r"\b[A-Z]\w+ [A-Z]\w+ I\b(?!')|\b[A-Z]\w+ I(?=[.,;:?!)]|'s\b|\Z)")
"""The numeral in "World War I" and "Elizabeth I's reign", which is no pronoun."""
_FIRST, _LAST = 4, 3
"""A long prompt asks in one of its first `_FIRST` or its last `_LAST` sentences."""
_FEW_WORDS = 3
_FEW_ASK = 0.15
"""Requests are few if they are less than this share of the sentences."""
_FULL_STOP = (".", "!", "。", "！", "।", "…")
_LONG = 6
"""In a text of more sentences, a request in the middle does not make a prompt of an apparent answer."""


def is_answer(text: str, parent: str) -> bool:
    """Whether the text answers a question or does a task, instead of asking for it."""
    if _TO_BE_CONTINUED.search(text) or _extends_what_asks_nothing(text, parent):
        return False
    if _has_a_labelled_answer(text):
        return not _has_a_labelled_answer(parent)
    hidden = masked(text)
    shape = shape_of(hidden)
    if not shape.prose and not shape.items:
        return False
    if _VERSE.fullmatch(text.strip()) and not _VERSE.fullmatch(parent.strip()):
        return True
    lines = text.strip().split("\n")
    if all(map(_SHELL.fullmatch, lines)) and not all(map(_SHELL.fullmatch, parent.strip().split("\n"))):
        return True
    if _VALUE.fullmatch(hidden.strip()) and not _labelled_task().search(hidden) and not any(shape.asking):
        return True
    if _letter().match(hidden) and not _letter().match(parent):
        return True
    if _is_taken_from(text, parent) and not any(shape.asking):
        return True
    if shape.prose and plays_a_part(shape.prose, parent):
        return True
    if shape.prose and _agreeing().match(hidden):
        return not _ends_asking(shape)
    if shape.prose and _opening().match(hidden):
        return _states_what_was_asked(shape, parent) or not _asks_after_opening(shape, hidden)
    if _has_a_labelled_task(hidden) or _OPTIONS.search(hidden):
        return False
    if shape.questions and shape.questions * 3 >= shape.items:
        return False
    if not shape.prose:
        return shape.items > 1 and (has("wants_advice", parent) or not _begins_asking(hidden))
    if _code().match(hidden):
        said = [
            each
            for sentence, each in zip(shape.prose, shape.asking, strict=True)
            if (begins_with_command(sentence) and sentence.endswith((".", "?", "!")))
            or not re.search(r"[(;={]", sentence)
        ]
        return not any(each.clearly for each in said) and _code().match(parent) is None
    if _is_way_to_do_it(shape, hidden, parent) or _shows_how(shape, hidden):
        return True
    if len(shape.prose) == 2 and is_question(shape.prose[0]) and _because().match(shape.prose[1]):
        return True
    if _states_what_was_asked(shape, parent):
        return True
    if _asks_at_an_edge(shape) or (_is_users_own(shape.prose[0]) and _is_users_own(parent)):
        return False
    if any(each.clearly for each in shape.asking):
        if any(each.clearly and _is_users_own(said) for said, each in zip(shape.prose, shape.asking, strict=True)):
            return False
        edges = (*shape.asking[:_FIRST], *shape.asking[-_LAST:])
        few = sum(each.clearly for each in shape.asking) < _FEW_ASK * len(shape.prose)
        return few and len(shape.prose) > _LONG and not any(each.clearly for each in edges)
    if any(shape.asking) and len(shape.prose) <= 3:
        return False
    return _could_answer(hidden, shape, asked=parent.rstrip().endswith(("?", "？", "؟")))


def _extends_what_asks_nothing(text: str, parent: str) -> bool:
    """Whether a text is its whole parent and more, and the parent already looks like an answer: a prompt may too."""
    before, words = parent.split(), text.split()
    if not 0 < len(before) < len(words) or words[: len(before)] != before:
        return False
    asked = any(asking(sentence).clearly for sentence in sentences(masked(parent)))
    return (len(before) >= _MANY_WORDS and not asked) or is_answer(parent, "")


def _has_a_labelled_task(hidden: str) -> bool:
    """Whether "Task:" stands at the beginning or before a request. A recipe's "Instructions:" does not count."""
    for label in _labelled_task().finditer(hidden):
        if not hidden[: label.start()].strip():
            return True
        following = next((line for line in hidden[label.end() :].split("\n") if line.strip("*_ \t")), "")
        if not ITEM.match(following) and any(asking(sentence) for sentence in sentences(following)):
            return True
    return False


def _begins_asking(hidden: str) -> bool:
    """Whether the first item of a list commands the reader to say or write something, as in a list of tasks."""
    first = sentences(hidden)[0]
    return begins_with_command(first) and asking(first).clearly


def _asks_after_opening(shape: Layout, hidden: str) -> bool:
    """Whether a text with the opening of an answer asks later, as a user does after an example of their own."""
    clear = sum(each.clearly for each in shape.asking)
    if _USERS_OWN.search(shape.prose[0]) and (clear or not shape.items):
        return True
    if (
        (len(shape.prose) > 1 or MASK in shape.prose[0])
        and shape.asking[-1]
        and shape.items < 2
        and not _EXPLAINING.match(hidden)
    ):
        return not is_advice(shape.prose[-1])
    if not clear:
        return False
    return shape.items < 3 or clear >= _FEW_ASK * len(shape.prose) or shape.asking[-1].clearly


def _is_way_to_do_it(shape: Layout, hidden: str, parent: str) -> bool:
    """Whether the text gives steps or advice, and the parent asked how to do something."""
    if not has("wants_advice", parent) or _is_users_own(shape.prose[0]):
        return False
    if _first_step().match(hidden) and not any(map(is_question, shape.prose)):
        return True
    steps = len(shape.prose) + shape.items
    if _EXPLAINING.match(shape.prose[0]) and not shape.asking[0].clearly:
        return True
    return steps >= (3 if shape.asking[0] else 2) and not any(each.clearly for each in shape.asking)


def _shows_how(shape: Layout, hidden: str) -> bool:
    """Whether one sentence says what one can do, and code or a list follows to the end."""
    return (
        _you_can().match(shape.prose[0]) is not None
        and shape.prose[0].rstrip().endswith((":", "："))
        and not any(each.clearly for each in shape.asking)
        and (hidden.rstrip().endswith(MASK) or shape.items > 1)
    )


def _states_what_was_asked(shape: Layout, parent: str) -> bool:
    """Whether the first sentence answers in the words of the parent's question, and the last sentence asks nothing."""
    if (any(shape.asking[:1]) and not _EXPLAINING.match(shape.prose[0])) or begins_as_question(shape.prose[0]):
        return False
    if shape.asking[-1].clearly and not is_advice(shape.prose[-1]) and len(shape.prose) > 1:
        return False
    if _is_users_own(shape.prose[0]) or any(map(begins_with_command, shape.prose[1:_FIRST])):
        return False
    asked = sentences(masked(parent))
    if not asked or not (asking(asked[0]).clearly or begins_as_question(asked[0])):
        return False
    words = _content(shape.prose[0])
    return len(words) >= 3 and len(words & _content(parent)) >= _ECHO * len(words)


def _content(text: str) -> set[str]:
    """The first letters of each longer word. In scripts without blanks, each pair of neighbouring characters."""
    found = {word[:5] for word in re.findall(r"[^\W\d_]{4,}", text.lower()) if word.isascii() or not _WIDE.match(word)}
    return found | {run[at : at + 2] for run in _WIDE.findall(text) for at in range(len(run) - 1)}


def _is_taken_from(text: str, parent: str) -> bool:
    """Whether the text is one to three words of the parent, such as a label that the parent offered."""
    said = re.findall(r"\w+", text.lower())
    return (
        0 < len(said) <= 3
        and not text.rstrip().endswith(("?", "？", "؟"))
        and " ".join(said) in " ".join(re.findall(r"\w+", parent.lower()))
    )


def _asks_at_an_edge(shape: Layout) -> bool:
    """Whether a text asks in its first or its last sentence, as prompts do."""
    first, last = shape.asking[0], shape.asking[-1]
    if first.clearly or (first and not _EXPLAINING.match(shape.prose[0])):
        return True
    if any(map(begins_as_question, (shape.prose[0], shape.prose[-1]))):
        return True
    if is_advice(shape.prose[-1]):
        return False
    if _EXPLAINING.match(shape.prose[-1]) and not last.clearly:
        return False
    return last.clearly or (bool(last) and not shape.items and len(shape.prose) <= _LONG)


def _ends_asking(shape: Layout) -> bool:
    return bool(shape.prose) and len(shape.prose) > 1 and shape.asking[-1].clearly and shape.items < 3


def _has_a_labelled_answer(text: str) -> bool:
    """Whether one heading "Answer:" stands before a text, at the beginning or after a labelled question."""
    found = list(_answer_label().finditer(straight(text)))
    if len(found) != 1:
        return False
    answer = found[0]["text"] + found[0]["more"]
    if not any(c.isalnum() for c in answer):
        return False
    if found[0].start() == 0:
        return not any(asking(sentence).clearly for sentence in sentences(masked(answer)))
    return _question_label().match(text) is not None


def _is_users_own(sentence: str) -> bool:
    """Whether a user speaks in the first person. An assistant's opinion does not count."""
    if has("undecided", sentence):
        return True
    return _USERS_OWN.search(_NUMBERED_NAME.sub("", sentence)) is not None and not has("opinions", sentence)


def _could_answer(hidden: str, shape: Layout, asked: bool) -> bool:
    """Whether a text without a request is long enough for an answer: sentences, a list, or code."""
    if shape.items >= 2 or shape.code:
        return True
    first = shape.prose[0]
    if _is_users_own(first) and len(shape.prose) <= 5:
        return False
    if (
        _because().match(hidden)
        or _EQUATION.match(hidden)
        or len(shape.prose) >= 3
        or (asked and len(hidden.split()) <= _FEW_WORDS and hidden.isascii())
    ):
        return True
    ended = [s for s in shape.prose if s.rstrip('"”»)*_ ').endswith(_FULL_STOP)]
    return any(not is_noun_phrase(s) for s in ended)
