"""Takes a reasoning model's thoughts off its reply, whatever marks enclose them. A text about such marks is left alone.

Thoughts are recognised by their place. Either the reply opens with them, or the chat template has opened them and the
reply closes them on a line of its own or after a whole sentence. A mark inside a sentence, a quotation or code is part
of the text and stays.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from eva_data.calls import Unparsable

NO_END = Unparsable("the reasoning has no end")

_WORD = (
    r"(?:(?:[\w-]{1,20}:)?"
    r"(?:think(?:ing)?|thoughts?|thought_process|reasoning|reason|reflection|analysis|scratch_?pad|inner_?monologue|"
    r"chain_of_thought|cot|deliberation))"
)
# Each pair of brackets around the word, and what the closing mark has in addition to the opening mark.
_MARKS = (
    (rf"<{_WORD}>", rf"</{_WORD}>"),
    (rf"\[{_WORD}\]", rf"\[/{_WORD}\]"),
    (rf"◁{_WORD}▷", rf"◁/{_WORD}▷"),
    (rf"<\|{_WORD}\|>", rf"<\|/(?:{_WORD})\|>|<\|end_of_{_WORD}\|>|<\|{_WORD}_end\|>"),
    (rf"<\|(?:begin_of_|start_)?{_WORD}(?:_start)?\|>", rf"<\|end_(?:of_)?{_WORD}\|>|<\|{_WORD}_end\|>"),
    (rf"<\|channel>{_WORD}\b", r"<channel\|>"),
    (rf"<unused\d+>{_WORD}\b", r"<unused\d+>"),
)
_PAIRS = tuple((re.compile(o, re.IGNORECASE), re.compile(c, re.IGNORECASE)) for o, c in _MARKS)
# Harmony's channels: marked by special tokens, or run together if the tokens were dropped.
_CHANNEL = re.compile(
    r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?P<name>\w+)[^<]{0,80}<\|message\|>", re.IGNORECASE
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call)\|>")
_RUN_TOGETHER = re.compile(r"analysis(?=[A-Z\s])")
_RUN_INTO = re.compile(r"analysis(?=[A-Z][a-z' ])")
"""The channel's name run together with the thoughts, which have no end if no final channel follows."""
_FINAL = "assistantfinal"
_BEGINNINGS = frozenset("<[◁a")
"""First characters of every opening mark and channel."""
_CLOSINGS = ("</", "[/", "◁/")
"""Beginnings of the closing marks of thoughts that the chat template has opened."""
_SPOKEN_OF = re.compile(
    r"\s+(?:tags?|blocks?|tokens?|marks?|markers?|elements?|sections?|delimiters?|and|or|vs|is|are|appears?)\b"
)
_LITTLE = re.compile(r"\W*(?:and|or|to|und|et|y|и|与|和|と)?\W*", re.IGNORECASE)
_QUOTING = "`'\"“”‘’«»「」（("
_SENTENCE_END = ".!?。！？…)"


@dataclass(frozen=True)
class _Mark:
    start: int
    end: int
    opens: bool


def without_thoughts(reply: str) -> str | Unparsable:
    """The text after the thoughts, or the whole text if there are none; Unparsable if the thoughts have no end."""
    if reply.lstrip()[:1] not in _BEGINNINGS and not any(mark in reply for mark in _CLOSINGS):
        return reply
    text = reply
    # Some models think twice: once in their own marks and once in the marks of their template.
    for _ in range(3):
        found = _once(text)
        if isinstance(found, Unparsable) or found == text:
            return found
        text = found
    return text


def _once(reply: str) -> str | Unparsable:
    begins = len(reply) - len(reply.lstrip())
    if _CHANNEL.match(reply, begins):
        return _final_channel(reply)
    if _RUN_TOGETHER.match(reply, begins) and _FINAL in reply:
        return reply.rpartition(_FINAL)[2]
    if _RUN_INTO.match(reply, begins):
        return NO_END
    unclosed = False
    for opening, closing in _PAIRS:
        first = opening.match(reply, begins)
        if first is None:
            continue
        if _spoken_of_at_the_start(reply, first.end(), closing):
            return reply
        end = _end_of_thoughts(reply, first.end(), opening, closing)
        if end is not None:
            return reply[end:]
        unclosed = True
    if unclosed:
        return NO_END
    for opening, closing in _PAIRS[:3]:
        if (end := _end_without_beginning(reply, opening, closing)) is not None:
            return reply[end:]
    return reply


def _final_channel(reply: str) -> str | Unparsable:
    channels = list(_CHANNEL.finditer(reply))
    last = channels[-1]
    if last["name"].lower() in ("analysis", "commentary"):
        return NO_END
    return _CHANNEL_END.split(reply[last.end() :], maxsplit=1)[0]


def _spoken_of_at_the_start(reply: str, after: int, closing: re.Pattern[str]) -> bool:
    """Whether the mark at the beginning of the reply is the subject of its first sentence."""
    line = reply[after:].split("\n", 1)[0]
    end = closing.search(line)
    if end is None:
        return _SPOKEN_OF.match(line) is not None and closing.search(reply, after) is None
    between, rest = line[: end.start()], line[end.end() :]
    if _SPOKEN_OF.match(between) and re.match(r" [a-z]", rest) and re.search(r"\w \Z", between):
        return True
    return _LITTLE.fullmatch(between) is not None and bool(between.strip()) and re.match(r"\s+\w", rest) is not None


def _end_of_thoughts(reply: str, start: int, opening: re.Pattern[str], closing: re.Pattern[str]) -> int | None:
    """Where the thoughts end: at the first closing mark that is not quoted and that closes no mark inside them."""
    marks = [_Mark(*m.span(), True) for m in opening.finditer(reply, start)]
    marks += [_Mark(*m.span(), False) for m in closing.finditer(reply, start)]
    depth, last = 1, None
    for mark in sorted(marks, key=lambda mark: mark.start):
        if _quoted(reply, mark) or (mark.opens and not _line_begins(reply, mark)):
            continue
        if not mark.opens and depth == 1 and _inside_a_sentence(reply, mark):
            last = last or mark.end
            continue
        depth += 1 if mark.opens else -1
        if depth == 0:
            return mark.end
    if last is None:
        found = [mark for mark in marks if not mark.opens]
        return found[-1].end if found else None
    return last


def _end_without_beginning(reply: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> int | None:
    """Where the thoughts end if the chat template has opened them before the reply; None if there are none."""
    for found in closing.finditer(reply):
        mark = _Mark(*found.span(), False)
        before = reply[: mark.start]
        if opening.search(before):
            return None
        if _quoted(reply, mark) or _in_code(reply, mark):
            continue
        alone = before.rstrip(" \t").endswith("\n") or not before.strip()
        rest = reply[mark.end :]
        own_line = alone and rest.lstrip(" \t")[:1] in ("\n", "")
        glued = before[-1:] in tuple(_SENTENCE_END) and before[-1:] != ""
        # Text about a mark has a blank, a quotation mark or a code mark beside it.
        glued = glued or bool(before[-1:].strip() and rest[:1].strip())
        if own_line or glued or (before.rstrip()[-1:] in tuple(_SENTENCE_END) and rest[:1] == "\n"):
            return mark.end
    return None


def _quoted(reply: str, mark: _Mark) -> bool:
    before, after = reply[max(mark.start - 1, 0) : mark.start], reply[mark.end : mark.end + 1]
    return bool(before) and before in _QUOTING and bool(after) and after in _QUOTING + "，。,)）"


def _in_code(reply: str, mark: _Mark) -> bool:
    """Whether a mark stands in a fenced block of code, which may have no end."""
    return reply.count("```", 0, mark.start) % 2 == 1


def _line_begins(reply: str, mark: _Mark) -> bool:
    return reply[: mark.start].rstrip(" \t")[-1:] in ("\n", "")


def _inside_a_sentence(reply: str, mark: _Mark) -> bool:
    """Whether a mark stands between words, with a blank on both sides."""
    before, after = reply[max(mark.start - 2, 0) : mark.start], reply[mark.end : mark.end + 2]
    return bool(re.fullmatch(r"\w ", before)) and bool(re.fullmatch(r" [a-z]", after))
