"""Good and bad replies of an OpenAI-compatible server to a chat request, for tests/servers/misbehaving.py.

A reply follows a *fault*, named by a text such as `500` or `429 after 2`:

    429, 503 | with `after S` or `date S`     Retry-After in seconds, or as an HTTP date
    500 | 401 | 404 | 400                     the status with OpenAI's error body
    context openai | context vllm             400, as OpenAI or vLLM says that a prompt is too long
    refuse n | refuse system                  400 to a request for several choices; to a system message
    hang up | cut length | cut chunked        the connection ends before the reply, or in the middle of it
    stop S                                    the server hangs up and refuses connections for S seconds
    late S                                    the right reply after S seconds
    invalid json | html | error inside        status 200, and no completion
    no choices | fewer choices | one choice   no choice; one choice less than asked for; always one choice
    length | content filter | refusal | null | empty | surrogate      the kind of a single choice

A prompt asks for its own faults: `[429 x2][500 x1] Hello` gets 429 twice, then 500 once, then an answer. Without `xN`,
a fault never ends.
"""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from math import ceil
from typing import Any, NamedTuple

from aiohttp import web

ERRORS = {"400": "the request is bad", "429": "too many requests", "500": "internal error", "503": "overloaded"}
CONTEXT = {
    "context openai": (
        "This model's maximum context length is 64 tokens. However, your messages resulted in 80 tokens. "
        "Please reduce the length of the messages."
    ),
    "context vllm": (
        "This model's maximum context length is 64 tokens. However, your prompt contains at least 65 input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
    ),
}
NO_COMPLETION = {
    "invalid json": ("application/json", '{"choices": [{"message"'),
    "html": ("text/html", "<html><body>Please log in.</body></html>"),
    "error inside": ("application/json", '{"error": {"message": "upstream overloaded", "code": 429}}'),
}
CHOICES: dict[str, tuple[str, dict[str, str | None]]] = {
    "length": ("length", {"content": "I was cut"}),
    "content filter": ("content_filter", {"content": None}),
    "refusal": ("stop", {"content": None, "refusal": "I will not."}),
    "null": ("stop", {"content": None}),
    "empty": ("stop", {"content": ""}),
    "surrogate": ("stop", {"content": "half an emoji: \ud83d"}),
}
NAMES = {
    *ERRORS, "429 after", "429 date", "503 after", "503 date", "401", "404", *CONTEXT, "refuse n", "refuse system",
    "hang up", "cut length", "cut chunked", "stop", "late", *NO_COMPLETION, "no choices", "fewer choices", "one choice",
    *CHOICES,
}  # fmt: skip
NO_ANSWER = {*NO_COMPLETION, "no choices", "null"}
"""Faults whose reply has status 200 and holds no completion."""

_NAME = f"(?:{'|'.join(sorted(NAMES, reverse=True))})"
_MARKER = re.compile(rf"\[({_NAME}(?: [\d.]+)?)(?: x(\d+))?\] ?")


class Fault(NamedTuple):
    """A fault of a request. The name is empty if the request is answered well."""

    name: str = ""
    seconds: float = 0

    @classmethod
    def parse(cls, text: str | None) -> Fault:
        if text is None:
            return cls()
        found = re.fullmatch(rf"({_NAME})(?: ([\d.]+))?", text)
        if found is None:
            raise ValueError(f"there is no fault `{text}`")
        return cls(found[1], float(found[2] or 0))


def asked_for(prompt: str, time: int) -> str | None:
    """The fault that a prompt asks for when it comes for the `time`-th time, counted from 1."""
    for fault, times in _MARKER.findall(prompt):
        if not times or time <= int(times):
            return str(fault)
        time -= int(times)
    return None


def topic(prompt: str) -> str:
    """The prompt without its faults, shortened."""
    return _MARKER.sub("", prompt)[:40]


def error(status: int, message: str, code: str | int | None) -> web.Response:
    """An error in the form of OpenAI and vLLM."""
    described = {"message": message, "type": "error", "param": None, "code": code}
    return web.json_response({"error": described}, status=status)


def refusal(fault: Fault, body: dict[str, Any], model: str) -> web.Response | None:
    """The error for a request; None if it is answered."""
    if fault.name == "401":
        return error(401, "Incorrect API key provided.", "invalid_api_key")
    if fault.name == "404" or body["model"] != model:
        return error(404, f"The model `{body['model']}` does not exist.", "model_not_found")
    if fault.name in CONTEXT:
        return error(400, CONTEXT[fault.name], "context_length_exceeded" if fault.name == "context openai" else 400)
    if fault.name == "refuse n" and body["n"] > 1:
        return error(400, "Only one choice is supported: n must be 1.", None)
    if fault.name == "refuse system" and body["messages"][0]["role"] == "system":
        return error(400, "System role not supported", None)
    status, _, how = fault.name.partition(" ")
    if status not in ERRORS:
        return None
    reply = error(int(status), ERRORS[status], int(status))
    if how == "after":
        reply.headers["Retry-After"] = f"{fault.seconds:g}"
    elif how == "date":
        reply.headers["Retry-After"] = formatdate(ceil(time.time() + fault.seconds), usegmt=True)
    return reply


def answer(fault: Fault, body: dict[str, Any], texts: list[str]) -> web.Response:
    """The reply with these choices, or with the choices that the fault leaves. A word counts as a token."""
    if fault.name in NO_COMPLETION:
        content_type, text = NO_COMPLETION[fault.name]
        return web.Response(text=text, content_type=content_type)
    left = {"no choices": 0, "fewer choices": len(texts) - 1, "one choice": 1}.get(fault.name, len(texts))
    reason, message = CHOICES.get(fault.name, ("stop", {}))
    messages = [{"role": "assistant", "content": text, **message} for text in texts[:left]]
    choices = [{"index": n, "finish_reason": reason, "message": message} for n, message in enumerate(messages)]
    prompt, completion = (
        sum(len((one["content"] or "").split()) for one in side) for side in (body["messages"], messages)
    )
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    head = {"id": "chat", "object": "chat.completion", "created": int(time.time()), "model": body["model"]}
    return web.json_response(head | {"choices": choices, "usage": usage})


async def cut(request: web.BaseRequest, fault: Fault, whole: web.Response) -> web.StreamResponse:
    """Send half of a reply or nothing, and close the connection."""
    assert isinstance(whole.body, bytes)
    reply = web.StreamResponse(headers={"Content-Type": "application/json"})
    if fault.name == "cut length":
        reply.content_length = len(whole.body)
    elif fault.name == "cut chunked":
        reply.enable_chunked_encoding()
    if fault.name != "hang up":
        await reply.prepare(request)
        await reply.write(whole.body[: len(whole.body) // 2])
    if request.transport is not None:
        request.transport.close()
    return reply
