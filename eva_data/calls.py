"""Requests to a model and completions from it: the types that tasks, LLM classes and ledger share.

A task describes its work as *chains*. A chain is a generator: it yields the requests that it needs next, and it is sent
the completions in the same order. An LLM drives many chains at once. A server lets each chain go on at its own pace,
and a local model works in waves; neither the task nor the ledger has to know which.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

Message: TypeAlias = dict[str, str]
"""One turn: `role` and `content`."""

FinishReason: TypeAlias = Literal["stop", "length", "content_filter", "error"]


@dataclass(frozen=True)
class Sampling:
    """Every sampling parameter that changes what a model says. All of them are sent; none is left to a default."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Request:
    """One completion that a task needs."""

    messages: tuple[Message, ...] = field(hash=False)
    index: int = 0
    """The number of this sample of the messages, from 0."""
    salt: str = ""
    """Part of the key. The caller sets it if the same messages must give new text, for example to `evolve:2:1`."""


@dataclass(frozen=True)
class Completion:
    """One completion from a model. A failed call has `text` None, and `error` says why."""

    text: str | None
    finish_reason: FinishReason
    prompt_tokens: int | None
    completion_tokens: int | None
    error: str | None = None
    first_token: Mapping[str, float] | None = None
    """The likeliest first tokens -> their natural log-probabilities; None unless asked for and given."""


GAVE_UP = "gave_up: "
"""The beginning of a request's error if its cause may pass; a rerun makes the request again."""

T = TypeVar("T")
Chain: TypeAlias = Generator[list[Request], list[Completion], T]
"""Work that yields the requests it needs next, is sent their completions in order, and returns its result."""

Row: TypeAlias = dict[str, Any]
"""A row that Distilabel passes between steps."""


class Rows(Protocol):
    """The rows of a job, in order. They can be read any number of times, and need not be in memory together."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Row]: ...


def merge_system(messages: Sequence[Message]) -> list[Message]:
    """The conversation with a leading system message put before the first user turn's text."""
    if not messages or messages[0]["role"] != "system":
        return list(messages)
    system, first, *rest = messages
    return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]


@dataclass(frozen=True)
class Unparsable:
    """The reply does not hold what was asked for."""

    why: str


def valid_unicode(text: str) -> str:
    """The text with "?" in the place of lone surrogates, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def conversation_text(messages: Sequence[Message]) -> str:
    """A prompt as the judge sees it: the text of a single user turn, else every turn under the name of its role."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"[{message['role'].capitalize()}]\n{message['content']}" for message in messages)


class Used(NamedTuple):
    """What the calls took that a process made, without those that it found in the ledger."""

    tokens: int = 0
    """Tokens that models wrote, as far as their servers say."""
    dollars: float = 0.0
    """As far as prices are known."""
    waits: str = ""
    """For how long no server has answered, and why, on one line; empty while answers come."""


class StageProgress(Protocol):
    """Is told the count of a stage from time to time, and what the calls of its model took so far."""

    def __call__(self, done: int, total: int, used: Used = ..., /) -> None: ...
