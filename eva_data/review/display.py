"""Prepares model texts for a reviewer: as Markdown that is rendered and does nothing else, or as plain text.

Argilla's page renders Markdown with HTML in it and strips what it does not trust. It would show `List<String>` as
`List`, a tag of a reasoning model would vanish, and a picture would make the reviewer's browser fetch any address that
a model wrote. So everything outside code that would begin a tag, an entity, a picture or an invisible definition is
escaped. Control characters are shown as escapes. Verdicts are found by the record's id, never by these texts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from eva_data import foreign

EMPTY = "*(empty)*"

_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_TOKEN = re.compile(
    r"(?<![`\\])(?P<ticks>`+)(?!`)(?P<code>(?:(?!\n[ \t]*\n).){1,2000}?)(?<!`)(?P=ticks)(?!`)"
    r"|(?<![\\$])\$\$(?!\$)(?P<block>[^$]+)\$\$"
    r"|(?<![\\$])\$(?!\$)(?P<maths>[^$\n]+)\$(?=[\s?!.,:;)]|$)"
    r"|(?<!\\)\\\((?P<inline>.{1,1000}?)\\\)"
    r"|(?<!\\)\\\[(?P<display>.{1,1000}?)\\\]",
    re.DOTALL,
)
"""Code and maths; the page knows maths only between dollars. Lengths are bounded, so that no text takes minutes."""
_ENTITY = re.compile(r"&(?=#?\w+;)")
_TAG = re.compile(r"(?<!\\)(\\*)<(?=[A-Za-z/!?])")
_PICTURE_OR_DEFINITION = re.compile(r"(?<!\\)\[(?=[^\]\n]{0,999}\]:)|(?<=!)\[")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)


def shown(text: str, *, markdown: bool = True) -> str:
    """A text for the page; an empty text is named as such. Without `markdown`, every character is shown."""
    if not text.strip():
        return EMPTY
    text = foreign.shown(text.replace("\r\n", "\n").replace("\r", "\n"))
    return _markdown(text) if markdown else _plain(text)


def conversation(messages: Sequence[Mapping[str, str]], *, markdown: bool = True) -> str:
    """A prompt for the page. The role stands above each turn, unless there is only one turn."""
    if len(messages) == 1:
        return shown(messages[0]["content"], markdown=markdown)
    turns = (f"**{message['role']}**\n\n{shown(message['content'], markdown=markdown)}" for message in messages)
    return "\n\n".join(turns)


def _plain(text: str) -> str:
    escaped = _PUNCTUATION.sub(r"\\\1", text)
    return _INDENT.sub(lambda found: "&nbsp;" * len(found[0].expandtabs(4)), escaped)


def _markdown(text: str) -> str:
    """The text with everything outside fenced code made inert."""
    parts: list[str] = []
    prose: list[str] = []
    fence: str | None = None
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence is None and mark is None:
            prose.append(line)
            continue
        if fence is None and mark is not None:
            parts += [_inert("\n".join(prose))] if prose else []
            prose, fence = [], mark[1]
        elif mark and fence and mark[1].startswith(fence) and not line[mark.end() :].strip():
            fence = None
        parts.append(line)
    if fence is not None:
        # Other texts follow in the same field, so an open fence is closed here.
        parts.append(fence)
    return "\n".join([*parts, _inert("\n".join(prose))] if prose else parts)


def _inert(text: str) -> str:
    """A text without fenced code, escaped outside code spans and maths."""
    parts, end = [], 0
    for token in _TOKEN.finditer(text):
        parts += [_escaped(text[end : token.start()]), _token(token)]
        end = token.end()
    return "".join([*parts, _escaped(text[end:])])


def _token(token: re.Match[str]) -> str:
    if token["code"] is not None:
        return token[0]
    in_line: str | None = token["maths"] or token["inline"]
    dollars = "$$" if in_line is None else "$"
    maths: str = in_line or token["block"] or token["display"]
    return dollars + _TAG.sub(r"\1\\lt ", maths) + dollars


def _escaped(text: str) -> str:
    text = _ENTITY.sub("&amp;", text)
    # A backslash makes the next mark a plain character, unless the backslash itself is escaped.
    text = _TAG.sub(lambda found: found[0] if len(found[1]) % 2 else f"{found[1]}&lt;", text)
    return _PICTURE_OR_DEFINITION.sub(r"\\[", text)
