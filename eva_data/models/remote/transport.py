"""What every way to a remote model has in common: a question goes out, a reply comes back and is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eva_data.calls import FinishReason, Message, Unparsable, valid_unicode, without_thoughts
from eva_data.models.remote.faults import Transient


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


_FINISHED: dict[FinishReason, tuple[str, ...]] = {
    "stop": ("stop", "stop_sequence", "end_turn", "eos", "eos_token", "end_of_text", "complete", "completed"),
    "length": (
        "length", "max_tokens", "max_new_tokens", "max_output_tokens", "max_completion_tokens", "model_length",
        "model_context_window_exceeded", "token_limit",
    ),
    "content_filter": (
        "content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii",
        "sensitive", "guardrail_intervened", "refusal",
    ),
}  # fmt: skip
_REASONS: dict[str, FinishReason] = {
    # A reply without a reason was ended by the model, as far as its server knows.
    "": "stop",
    **{name: reason for reason, names in _FINISHED.items() for name in names},
}
"""What servers call the end of an answer, in lower case. Any other word is a failure: only a known end is good."""


def read_reply(reply: Any, n: int, clean: Callable[[str], str] = lambda text: text) -> Reply:
    """The usable choices, at most `n`; Transient if there is none.

    A choice is usable if it ended in a known way and has a text, a refusal (which is the model's answer), thoughts
    alone (an answer of no words), or was filtered. `clean` takes keys out of a text.
    """
    if not isinstance(reply, dict) or not isinstance(reply.get("choices"), list):
        said = reply.get("error") if isinstance(reply, dict) else None
        raise Transient("the reply has no choices" + (f" but an error: {clean(str(said))[:200]}" if said else ""))
    failures: list[str] = []
    choices = [choice for found in reply["choices"][:n] if (choice := _choice(found, clean, failures)) is not None]
    if not choices:
        raise Transient(failures[0] if failures else "the reply has no choice with a text")
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(tuple(choices), _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _choice(found: Any, clean: Callable[[str], str], failures: list[str]) -> Choice | None:
    """A usable choice; None, and perhaps why, for any other."""
    message = found.get("message") if isinstance(found, dict) else None
    if not isinstance(message, dict):
        return None
    said = found.get("finish_reason")
    reason = _REASONS.get(str(said or "").lower())
    if reason is None or found.get("error"):
        failures.append(clean(f"the answer was broken off with finish_reason `{str(said)[:80]}`"))
        return None
    text = _text(message)
    if text is None:
        # Cut at the limit while still thinking, or filtered before the first word: an answer of no words.
        silent = reason in ("length", "content_filter") or any(message.get(key) for key in _THOUGHTS)
        text = "" if silent else None
    elif reason == "stop":
        answer = without_thoughts(text)
        if text and (isinstance(answer, Unparsable) or not answer.strip()):
            text = ""
    ids = found.get("token_ids")
    tokens = len(ids) if isinstance(ids, list) else None
    return None if text is None else Choice(valid_unicode(clean(text)), reason, tokens)


_THOUGHTS = ("reasoning_content", "reasoning")
"""Where servers put what a model thought before it answered."""


def _text(message: dict[str, Any]) -> str | None:
    """The text of a message, its chunks joined without thoughts; None if it says nothing."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_texts_of(content))
    # The second is where litellm keeps it.
    refusal = message.get("refusal") or (message.get("provider_specific_fields") or {}).get("refusal")
    return refusal if isinstance(refusal, str) else None


def _texts_of(chunks: Sequence[Any]) -> Iterator[str]:
    for chunk in chunks:
        if isinstance(chunk, str):
            yield chunk
        elif isinstance(chunk, dict) and chunk.get("type", "text") in ("text", "output_text", "refusal"):
            yield str(chunk.get("text") or chunk.get("refusal") or "")


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
