"""What all ways to a remote model share: the protocol of a request, and the reader of its reply."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eva_data.calls import FinishReason, Message, Unparsable, valid_unicode
from eva_data.models.remote.faults import Transient
from eva_data.thoughts import without_thoughts


@dataclass(frozen=True)
class Choice:
    """One completion of a reply."""

    text: str
    finish_reason: FinishReason
    tokens: int | None = None
    """The choice's length in tokens; None if the server does not say it for each choice."""
    first_token: Mapping[str, float] | None = None
    """The likeliest first tokens -> their log-probabilities; None if the server does not say them."""


@dataclass(frozen=True)
class Reply:
    """A server's answer: its usable choices, in order, and the tokens that it counted."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    """The sum over all choices; None if the server does not say it."""


class Transport(Protocol):
    """A way to ask a model."""

    model: str
    """The model's name at the server, or in litellm."""

    async def ask(self, url: str, messages: Sequence[Message], n: int, *, greedy: int | None = None) -> Reply:
        """Ask for `n` choices, and return a reply with one to `n` usable choices.

        `greedy` asks for the most likely answer, of at most so many tokens, instead of a sample. Raise a Fault if this
        request brought no answer, and EndpointError if no request will.
        """

    async def close(self) -> None:
        """Close the connections."""


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
    # If a reply gives no reason, the model ended it, as far as the server knows.
    "": "stop",
    **{name: reason for reason, names in _FINISHED.items() for name in names},
}
"""The words of servers, in lower case, for the end of an answer. An unknown word is a failure."""


def read_reply(reply: Any, n: int, clean: Callable[[str], str] = lambda text: text) -> Reply:
    """Read the usable choices, at most `n`. Raise Transient if there is none.

    A choice is usable if its end is known, and if it has a text or a refusal (which is the model's answer), consists
    of thoughts alone (an answer without words), or was filtered. `clean` takes keys out of a text.
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
    """The choice, or None if it is not usable; then the reason, if known, is added to `failures`."""
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
        # The choice was cut while the model was thinking, or filtered before the first word: an answer without words.
        silent = reason in ("length", "content_filter") or any(message.get(key) for key in _THOUGHTS)
        text = "" if silent else None
    elif reason == "stop":
        answer = without_thoughts(text)
        if text and (isinstance(answer, Unparsable) or not answer.strip()):
            text = ""
    ids = found.get("token_ids")
    tokens = len(ids) if isinstance(ids, list) else None
    return None if text is None else Choice(valid_unicode(clean(text)), reason, tokens, _first_token(found))


def _first_token(found: dict[str, Any]) -> dict[str, float] | None:
    """The likeliest first tokens of a choice, as `choices[].logprobs.content[0].top_logprobs` lists them."""
    said = found.get("logprobs")
    tokens = said.get("content") if isinstance(said, dict) else None
    first = tokens[0] if isinstance(tokens, list) and tokens else None
    listed = first.get("top_logprobs") if isinstance(first, dict) else None
    likely = {
        valid_unicode(each["token"]): float(each["logprob"])
        for each in (listed if isinstance(listed, list) else ())
        if isinstance(each, dict)
        and isinstance(each.get("token"), str)
        and isinstance(each.get("logprob"), int | float)
        and math.isfinite(each["logprob"])
    }
    return likely or None


_THOUGHTS = ("reasoning_content", "reasoning")
"""The fields in which servers put the thoughts of a model."""


def _text(message: dict[str, Any]) -> str | None:
    """The text of a message, its chunks joined without thoughts; None if there is no text."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_texts_of(content))
    # litellm keeps a refusal in the second place.
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
