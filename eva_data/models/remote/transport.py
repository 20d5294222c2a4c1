"""What every way to a remote model has in common: a question goes out, a reply or a Fault comes back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eva_data.calls import FinishReason, Message


@dataclass(frozen=True)
class Choice:
    """One completion of a reply."""

    text: str
    finish_reason: FinishReason
    tokens: int | None = None
    """Its length in tokens, where the server says it of each choice."""


@dataclass(frozen=True)
class Reply:
    """What a server answered: its usable choices, in order, and what it says it took."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    """Of all choices together."""


class Transport(Protocol):
    """A way to ask a model."""

    model: str
    """As the server, or litellm, calls it."""

    async def ask(self, url: str, messages: Sequence[Message], n: int, *, greedy: int | None = None) -> Reply:
        """A reply with at least one usable choice, at most `n`.

        `greedy` asks for the most likely answer of at most so many tokens instead of a sample. Raises a Fault
        where this request brought none, and EndpointError where none will.
        """

    async def close(self) -> None:
        """Give connections back."""
