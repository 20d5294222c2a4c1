"""Removes wrappings of a whole text: chat tokens, a fence, quotation marks, bold, a tag, a JSON object.

A wrapping opens at the beginning, closes at the end, and has no mark of its kind between.
"""

from __future__ import annotations

import json
import re

from eva_data.evolve.replies.requests import asking, is_offer, masked, sentences
from eva_data.evolve.replies.words import compiled, patterns

_NOUN = r"(?:prompt|instruction|query|question|task|request|message|response|version|output|answer|result|final|text)"
_QUOTES = (
    ('"', '"'),
    ("“", "”"),
    ("„", "“"),
    ("„", "”"),
    ("«", "»"),
    ("»", "«"),
    ("「", "」"),
    ("『", "』"),
    ("‘", "’"),
    ("'", "'"),
)
_FENCE_LINE = re.compile(r"[ \t]{0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^`\n]*?)[ \t]*")
_PLAIN_INFO = {"", "text", "txt", "plaintext", "plain", "markdown", "md", "prompt"}
_TAG = re.compile(
    rf"<(?P<name>(?:(?:new|rewritten|evolved|created|final|revised|user|the)[_ -]?)?{_NOUN})>"
    r"(?P<inside>.*)</(?P=name)>",
    re.DOTALL | re.IGNORECASE,
)
_ANY_TAG = re.compile(r"<(?P<name>[^\W\d][\w -]{1,40})>(?P<inside>.*)</(?P=name)>", re.DOTALL)
_named = compiled(
    lambda: (
        rf"(?:(?:{patterns('renewed')})[\s的のな]{{0,2}}(?:{patterns('nouns')})|"
        rf"(?:{patterns('nouns')})\s(?:{patterns('renewed')})|(?:{patterns('plain_labels')}))"
    )
)
"""A name of the new prompt in any language."""
_FEW_WORDS = 60
"""Words after a wrapped prompt have at most so many characters."""
_KEY = re.compile(rf"(?:(?:new|rewritten|evolved|created|final|revised|user)[_ -]?)?{_NOUN}", re.IGNORECASE)
_TOKEN = (
    r"(?:<[|｜][^<>\n]{1,40}?[|｜]>|</?s>|<eos>|<bos>|<pad>|<end_of_turn>|<start_of_turn>(?:model|user)?"
    r"|\[/?INST\]|<</?SYS>>|<\|eot\|>)"
)
_FIRST_TOKENS = re.compile(rf"\s*(?:{_TOKEN}(?:assistant|model)?\s*)+(?:(?:assistant|model)\s*\n\s*)?")
_HEADER = re.compile(r"<\|start_header_id\|>assistant<\|end_header_id\|>\s*|<\|im_start\|>assistant\s*")
_LAST_TOKENS = re.compile(rf"(?:{_TOKEN}\s*)+\Z")
_TURN = re.compile(
    rf"(?<=[\w.!?。！？؟।)\]\"'”»`}}])[ ]?{_TOKEN}\s*(?=\n|{_TOKEN}|(?:user|assistant)\b)|"
    rf"\n\s*(?:<\|im_(?:start|end)\|>|<\|eot_id\|>|<end_of_turn>|</s>|<\|endoftext\|>)"
)


def without_edges(text: str) -> str:
    """The text without blank lines around it and without blanks at its end.

    The first of several lines keeps its indentation.
    """
    text = text.rstrip()
    while True:
        line, newline, rest = text.partition("\n")
        if line.strip() or not newline:
            break
        text = rest
    if "\n" not in text or not re.match(r"\t|[ \t]{2}", text):
        return text.strip()
    return text


def without_chat_tokens(text: str) -> str:
    """The text without tokens that begin or end a turn, and without turns that the model invented after its own."""
    text = _HEADER.sub("", text, count=1) if _HEADER.match(text.lstrip()) else text
    if (first := _FIRST_TOKENS.match(text)) is not None and not re.match(r"[a-z]", text[first.end() :]):
        text = text[first.end() :]
    if (turn := _TURN.search(text)) is not None and text[: turn.start()].strip():
        text = text[: turn.start()]
    last = _LAST_TOKENS.search(text)
    if last is not None and not re.search(r"\w\s+\Z", text[: last.start()].split("\n")[-1]):
        text = text[: last.start()]
    return text


def unwrapped(text: str) -> str:
    """The text without one wrapping, or the same text if it has none."""
    text = without_edges(without_chat_tokens(text))
    text = _without_a_word_behind(text)
    for take_off in (_unfenced, _untagged, _from_json, _unquoted, _unmarked_code, _plain, _unindented_quote):
        inside = take_off(text)
        if inside != text and inside.strip():
            return inside
    return text


def _without_a_word_behind(text: str) -> str:
    """The text up to the end of its wrapping, if the request is wrapped and only a friendly word follows."""
    whole, _, behind = text.rpartition("\n\n")
    if not whole or len(behind) > _FEW_WORDS or _asks(behind):
        return text
    if not (behind.rstrip().endswith(("!", "！")) or is_offer(behind)):
        return text
    for take_off in (_unfenced, _unquoted):
        inside = take_off(whole.rstrip())
        if inside != whole.rstrip() and _asks(inside):
            return whole.rstrip()
    return text


def _asks(text: str) -> bool:
    return any(asking(sentence) for sentence in sentences(masked(text)))


def _unmarked_code(text: str) -> str:
    """The text between two backticks, if it asks for something in words, unlike code."""
    inside = text[1:-1]
    if len(text) < 3 or not (text[0] == text[-1] == "`") or "`" in inside or "\n" in inside:
        return text
    return inside.strip() if any(asking(sentence).clearly for sentence in sentences(masked(inside))) else text


def _unquoted(text: str) -> str:
    for opening, closing in _QUOTES:
        inside = text[len(opening) : -len(closing)]
        if len(text) <= 2 or not (text.startswith(opening) and text.endswith(closing)):
            continue
        if opening not in inside and closing not in inside:
            return without_edges(inside)
        if opening == closing and _are_pairs(inside, opening):
            return without_edges(inside)
    return text


def _are_pairs(inside: str, mark: str) -> bool:
    """Whether the marks inside a text open and close in turn. The marks around it are then a pair of their own."""
    sides = [(inside[: at.start()][-1:], inside[at.end() :][:1]) for at in re.finditer(re.escape(mark), inside)]
    opening = [not before.strip(" (\n[") and bool(after.strip()) for before, after in sides]
    return opening == [number % 2 == 0 for number in range(len(opening))] and len(opening) % 2 == 0


def _plain(text: str) -> str:
    for mark in ("***", "**", "__", "*"):
        inside = text[len(mark) : -len(mark)]
        if (
            len(text) > 2 * len(mark)
            and text.startswith(mark)
            and text.endswith(mark)
            and mark[0] not in inside
            and "\n\n" not in inside
            and not inside.startswith(" ")
        ):
            return inside.strip()
    return text


def _unindented_quote(text: str) -> str:
    lines = text.split("\n")
    if all(line.startswith(">") for line in lines if line.strip()):
        return without_edges("\n".join(re.sub(r"^> ?", "", line) for line in lines))
    return text


def _unfenced(text: str) -> str:
    """The content of a fence around the whole text. If the fence names a language, the text is code and stays."""
    lines = text.split("\n")
    first = _FENCE_LINE.fullmatch(lines[0])
    if first is None or len(lines) < 3:
        return text
    if first["info"].lower() not in _PLAIN_INFO:
        # A fence of JSON is a wrapping too if its object contains only the prompt.
        held = without_edges("\n".join(lines[1:-1]))
        alone = lines[-1].strip() == first["fence"] and _from_json(held) != held
        return held if first["info"].lower() == "json" and alone else text
    open_fences: list[str] = []
    for number, line in enumerate(lines):
        found = _FENCE_LINE.fullmatch(line)
        if found is None:
            continue
        fence, info = found["fence"], found["info"]
        if open_fences and not info and fence.startswith(open_fences[-1]):
            open_fences.pop()
        elif not open_fences or info:
            open_fences.append(fence)
        if not open_fences:
            return without_edges("\n".join(lines[1:-1])) if number == len(lines) - 1 else text
    return text


def _untagged(text: str) -> str:
    found = _TAG.fullmatch(text)
    if found is None:
        found = _ANY_TAG.fullmatch(text)
        if found is not None and not _is_name(found["name"]):
            return text
    if found is None or f"<{found['name']}" in found["inside"]:
        return text
    return without_edges(found["inside"])


def _is_name(key: str) -> bool:
    """Whether the key of an object or the name of a tag names the new prompt in any language."""
    return _named().fullmatch(key.replace("_", " ").replace("-", " ")) is not None


def _from_json(text: str) -> str:
    if not (text.startswith("{") and text.endswith("}")):
        return text
    try:
        value = json.loads(text, strict=False)
    except ValueError:
        return text
    if not isinstance(value, dict):
        return text
    named = [key for key in value if _KEY.fullmatch(key) or _is_name(key)]
    if len(value) == 1 and len(named) == 1 and isinstance(value[named[0]], str):
        return without_edges(value[named[0]])
    return text
