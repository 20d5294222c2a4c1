"""A task of an environment, and the text in which a table carries what scores it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from eva_data.calls import valid_unicode
from eva_data.errors import DataError

Turns = list[dict[str, str]]

_ROLES = ("system", "user", "assistant")
_TUPLE, _ITEMS = "__tuple__", "__items__"
"""Keys of objects that stand for a tuple, and for the items of a dict whose keys are not all texts. Scorers tell them
from lists and texts, and JSON does not have them."""

_KEYS = ("environment", "version", "config", "metadata")


@dataclass(frozen=True)
class PosedTask:
    """A prompt that an environment made."""

    text: str
    """The question, which is the last user turn of the prompt."""
    answer: str | None
    """The right answer; None if the environment has several and only checks a response."""
    info: str
    """What its environment needs to score a response and to make a harder task, as JSON (`pack`)."""


def posed_task(
    turns: Turns, answer: object, *, environment: str, version: str, metadata: Any
) -> tuple[Turns, PosedTask, bool]:
    """The turns, the task that ends in them, and whether it is text that can be scored.

    `answer` is carried if it is a text or a number. `metadata` is what scores a response.
    """
    info = pack({"environment": environment, "version": version, "config": {}, "metadata": metadata})
    text = turns[-1]["content"] if turns else ""
    whole = bool(turns) and turns[-1]["role"] == "user" and text == valid_unicode(text) and info is not None
    carried = str(answer) if isinstance(answer, str | int | float) else None
    return turns, PosedTask(text, carried, info or ""), whole


def text_turns(prompt: Any) -> Turns:
    """A prompt, one text or messages, as turns; no turn if one of them is no text."""
    given: Any = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt or []
    turns: Turns = [{"role": turn.get("role"), "content": turn.get("content")} for turn in given]
    if any(turn["role"] not in _ROLES or not isinstance(turn["content"], str) for turn in turns):
        return []
    return turns


def pack(values: Any) -> str | None:
    """JSON from which `unpack` makes equal values; None if there is no such JSON, as for an object of a class."""
    try:
        text = json.dumps(_with_marks(values), ensure_ascii=False, sort_keys=True, allow_nan=False)
        return text if unpack(text) == values else None
    except (TypeError, ValueError):
        return None


def unpack(text: str) -> Any:
    """The values in a text of `pack`. Raise ValueError if the text is no JSON."""
    return json.loads(text, object_hook=_without_marks)


def read_info(info: str) -> dict[str, Any]:
    """The values of a task's `info`. Raise DataError if it is not as `PosedTask` has it."""
    try:
        values = unpack(info)
    except ValueError:
        values = None
    if not isinstance(values, Mapping) or any(key not in values for key in _KEYS):
        raise DataError(
            f"the column `info` holds `{info[:80]}`: expected a JSON object with {', '.join(_KEYS)}, as an environment "
            "writes it"
        )
    return dict(values)


def _with_marks(values: Any) -> Any:
    if isinstance(values, tuple):
        return {_TUPLE: [_with_marks(value) for value in values]}
    if isinstance(values, list):
        return [_with_marks(value) for value in values]
    if isinstance(values, dict) and not all(isinstance(key, str) for key in values):
        return {_ITEMS: [[_with_marks(key), _with_marks(value)] for key, value in values.items()]}
    if isinstance(values, dict):
        return {key: _with_marks(value) for key, value in values.items()}
    return values


def _without_marks(values: dict[str, Any]) -> Any:
    if values.keys() == {_TUPLE}:
        return tuple(values[_TUPLE])
    return dict(values[_ITEMS]) if values.keys() == {_ITEMS} else values
