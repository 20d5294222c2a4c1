"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from eva_data.errors import EvaError

State: TypeAlias = Literal["ok", "warning", "problem", "unknown"]


@dataclass(frozen=True)
class Examined:
    """One thing that was looked at, and what was found."""

    topic: str
    """What was looked at, such as `gpu`, or the key of a block, such as `solver`."""
    state: State
    """`problem` if the build would fail, `unknown` if it could not be looked at."""
    found: str
    """What was found, with what was expected if that differs, and what to do about it."""


def tried(topic: str, look: Callable[[], str], state: State = "problem") -> Examined:
    """What `look` returns is fine; the sentence of an error that it raises has the `state`."""
    try:
        return Examined(topic, "ok", look())
    except EvaError as error:
        return Examined(topic, state, str(error))
