"""What the parsers of models' replies share."""

from __future__ import annotations

from dataclasses import dataclass

_THOUGHTS_BEGIN, _THOUGHTS_END = "<think>", "</think>"


@dataclass(frozen=True)
class Unparsable:
    """The reply does not hold what was asked for."""

    why: str


def without_thoughts(reply: str) -> str | Unparsable:
    """What follows a reasoning model's thoughts; chat templates may have opened them before the reply begins."""
    if _THOUGHTS_END in reply:
        return reply.rpartition(_THOUGHTS_END)[2]
    if reply.lstrip().startswith(_THOUGHTS_BEGIN):
        return Unparsable("the reasoning has no end")
    return reply


def valid_unicode(text: str) -> str:
    """The text with lone surrogates, which no file can hold, replaced by "?"."""
    return text.encode("utf-8", "replace").decode("utf-8")
