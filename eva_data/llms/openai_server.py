"""Any server that speaks OpenAI's chat completions, by one thin POST.

A client library costs 2 to 9 ms of processor time per request, this 0.4 ms: with hundreds of requests in flight
that is the difference between a busy server and a busy client.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.request import getproxies

import aiohttp

from eva_data.calls import FinishReason, Message, Sampling
from eva_data.errors import EndpointError
from eva_data.keys import without_keys
from eva_data.llms.faults import Outage, Refused, Transient, fault_of
from eva_data.llms.transport import Choice, Reply
from eva_data.replies import valid_unicode

NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""What vLLM takes from the model's own generation_config where a request does not say it."""

COUNTED = {"return_token_ids": True}
"""Has vLLM say of each choice how long it is: `usage` has only their sum."""


_GUIDE = "response_format"
"""The field by which decoding is guided; a server that does not know it, or its schema, names it in its refusal."""


class OpenAIServer:
    """Chat completions of one model, by one HTTP session."""

    def __init__(
        self,
        model: str,
        sampling: Sampling,
        *,
        key: str | None,
        key_name: str,
        extra_body: Mapping[str, Any],
        timeout_seconds: float,
    ) -> None:
        self._model = model
        self._key, self._key_name = key, key_name
        self._body = {
            "model": model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stream": False,
        } | dict(extra_body)
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # The pool bounds the requests; a second bound here would only hide it.
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(30.0, timeout_seconds)),
            # Looking the proxy up costs as much as a tenth of a request, so only where there is one.
            trust_env=bool(getproxies()),
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, url: str, messages: Sequence[Message], n: int, *, greedy: int | None = None) -> Reply:
        """See Transport."""
        body = self._body | {"messages": list(messages), "n": n}
        if greedy is not None:
            body |= {"temperature": 0.0, "top_p": 1.0, "max_tokens": greedy}
        try:
            return read_reply(await self.post(f"{url}/chat/completions", body, url), n)
        except Refused as fault:
            if _GUIDE not in body or _GUIDE not in str(fault):
                raise
        # The template asks for the form in words as well.
        self._body.pop(_GUIDE, None)
        body.pop(_GUIDE)
        return read_reply(await self.post(f"{url}/chat/completions", body, url), n)

    async def post(self, address: str, body: Mapping[str, Any], url: str) -> Any:
        """The JSON of a reply with status 200; a Fault or an EndpointError otherwise."""
        try:
            async with self._session.post(address, json=body) as response:
                text = await response.text(errors="replace")
                status, headers = response.status, response.headers
        except TimeoutError:
            raise Transient(f"no reply within {self._session.timeout.total:g} seconds") from None
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, ssl.SSLError):
                raise EndpointError(f"{url} has no valid certificate: {error.os_error}") from None
            raise Outage(f"cannot connect: {error.os_error.strerror or error}") from None
        except aiohttp.ClientError as error:
            raise Transient(f"the reply was cut: {type(error).__name__}") from None
        if status != 200:
            # Servers quote a wrong key in their answer.
            raise fault_of(
                status, without_keys(text, self._key), headers, key_name=self._key_name, model=self._model, url=url
            )
        try:
            return json.loads(text)
        except ValueError:
            raise Transient(f"the reply is no JSON: {' '.join(text.split())[:80]!r}") from None


_REASONS: Mapping[str | None, FinishReason] = {"length": "length", "content_filter": "content_filter"}


def read_reply(reply: Any, n: int) -> Reply:
    """The usable choices, at most `n`; Transient where there is none.

    A choice is usable if it has a text, a refusal (which is the model's answer), or was filtered. All other finish
    reasons than `length` and `content_filter` count as `stop`.
    """
    if not isinstance(reply, dict) or not isinstance(reply.get("choices"), list):
        said = reply.get("error") if isinstance(reply, dict) else None
        raise Transient("the reply has no choices" + (f" but an error: {str(said)[:200]}" if said else ""))
    choices = [choice for found in reply["choices"][:n] if (choice := _choice(found)) is not None]
    if not choices:
        raise Transient("the reply has no choice with a text")
    usage = reply.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(tuple(choices), _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens")))


def _choice(found: Any) -> Choice | None:
    message = found.get("message") if isinstance(found, dict) else None
    if not isinstance(message, dict):
        return None
    reason = _REASONS.get(found.get("finish_reason"), "stop")
    text = message.get("content")
    if not isinstance(text, str):
        # The second is where litellm keeps it.
        text = message.get("refusal") or (message.get("provider_specific_fields") or {}).get("refusal")
    if not isinstance(text, str):
        # Cut at the limit while still thinking, or filtered before the first word: an answer of no words.
        text = "" if reason in ("length", "content_filter") else None
    ids = found.get("token_ids")
    tokens = len(ids) if isinstance(ids, list) else None
    return None if text is None else Choice(valid_unicode(text), reason, tokens)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 <= value < 2**31 else None
