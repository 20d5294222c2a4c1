"""Asks any server with OpenAI's chat completions by a plain POST.

A client library takes 2 to 9 ms of processor time per request, and this module takes 0.4 ms. With hundreds of requests
in flight, that decides whether the server or the client is the bottleneck.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
import orjson

from eva_data.calls import Message, Sampling
from eva_data.errors import EndpointError
from eva_data.models.keys import key_headers, redactor
from eva_data.models.remote.faults import Fault, Outage, Transient, fault_of
from eva_data.models.remote.fields import Fields, asking_likelihoods, greedily
from eva_data.models.remote.transport import Reply, read_reply
from eva_data.models.way import proxy_of

NEUTRAL = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
"""Neutral values of the fields that vLLM otherwise takes from the model's own generation_config."""

WITH_TOKEN_IDS = {"return_token_ids": True}
"""Lets vLLM return the tokens of each choice, and so its length; `usage` has only the sum."""

_LONGEST_HEADER = 1 << 18
_JSON = {"Content-Type": "application/json"}
_MOVED = (301, 302, 303, 307, 308)
_FOR_GOOD = (301, 308)
_MOST_MOVES = 5


class OpenAIServer:
    """Chat completions of one model through one HTTP session."""

    def __init__(
        self,
        model: str,
        sampling: Sampling,
        *,
        key: str | None,
        key_name: str,
        extra_body: Mapping[str, Any],
        timeout_seconds: float,
        fields: Mapping[str, str | None] | None = None,
        likeliest: int = 0,
    ) -> None:
        """`likeliest` is how many of the likeliest tokens at each place are asked for, with log-probabilities."""
        self.model = model
        self._key, self._key_name = key, key_name
        self._clean = redactor(key)
        self._fields = Fields(model, fields or {})
        self._wanted = {
            "model": model,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "stream": False,
            **asking_likelihoods(likeliest),
        } | dict(extra_body)
        self._moved: dict[str, str] = {}
        self._own_keys: dict[str, str] = {}
        self._session = aiohttp.ClientSession(
            # The pool bounds the number of requests, so the connector must not.
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(30.0, timeout_seconds)),
            # Gateways may add headers of many kilobytes.
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            # `proxy_of` looks up the environment's proxies. Its netrc is for other programs.
            trust_env=False,
        )

    async def close(self) -> None:
        await self._session.close()

    def use_keys(self, keys: Mapping[str, str]) -> None:
        """Ask each of these URLs with the key of its own, in the place of the one for all."""
        if keys.keys() - self._own_keys.keys() or any(self._own_keys[url] != key for url, key in keys.items()):
            # A server that is gone may still be answering.
            self._own_keys |= keys
            self._clean = redactor(self._key, *self._own_keys.values())

    async def ask(self, url: str, messages: Sequence[Message], n: int, *, greedy: int | None = None) -> Reply:
        """See Transport."""
        wanted = self._wanted | {"messages": list(messages), "n": n}
        if greedy is not None:
            wanted = greedily(wanted, greedy, top_p=1.0)

        async def send(body: Mapping[str, Any]) -> Reply:
            return read_reply(await self.post(f"{url}/chat/completions", body, url), n, self._clean)

        return await self._fields.accepted(wanted, send, greedy=greedy is not None)

    async def embed(self, url: str, texts: Sequence[str], dimensions: int | None) -> Any:
        """The reply of `/embeddings`. Raise a Fault if there is none."""
        body = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        return await self.post(f"{url}/embeddings", body | ({"dimensions": dimensions} if dimensions else {}), url)

    async def post(self, address: str, body: Mapping[str, Any], url: str) -> Any:
        """The JSON of a reply with status 200. Raise a Fault or an EndpointError for any other reply."""
        status, content, charset, headers = await self._post(address, body, url)
        if status == 200 and charset == "utf-8":
            try:
                return orjson.loads(content)
            except orjson.JSONDecodeError:
                # It is stricter than the reader below: some servers send NaN, or half of a surrogate pair.
                pass
        text = content.decode(charset, "replace")
        if status != 200:
            raise self._fault(status, text, headers, url)
        try:
            return json.loads(text.removeprefix("\ufeff"))
        except ValueError:
            raise Transient(f"the reply is no JSON: {self._clean(' '.join(text.split()))[:80]!r}") from None

    async def _post(self, address: str, body: Mapping[str, Any], url: str) -> tuple[int, bytes, str, Mapping[str, str]]:
        """Status, content, its encoding, and headers of the reply. A POST stays a POST if the server redirects it."""
        content, signed = _json(body), _JSON | key_headers(self._own_keys.get(url, self._key))
        address = self._moved.get(address, address)
        first = address
        for _ in range(_MOST_MOVES):
            try:
                async with self._session.post(
                    address,
                    data=content,
                    headers=signed,
                    proxy=proxy_of(address),
                    allow_redirects=False,
                ) as response:
                    status, headers = response.status, response.headers
                    received = await response.read()
                    charset = response.get_encoding()
            except TimeoutError:
                raise Transient(f"no reply within {self._session.timeout.total:g} seconds") from None
            except aiohttp.ClientConnectorError as error:
                if isinstance(error.os_error, ssl.SSLError):
                    raise EndpointError(f"{url} has no valid certificate: {error.os_error}") from None
                raise Outage(f"cannot connect: {error.os_error.strerror or error}") from None
            except aiohttp.ClientError as error:
                raise Transient(f"the reply was cut: {type(error).__name__}") from None
            if status not in _MOVED or "Location" not in headers:
                return status, received, charset, headers
            new = urljoin(address, headers["Location"])
            if not _may_follow(address, new):
                raise EndpointError(
                    f"{url} says that it has moved to {self._clean(new)[:200]}: if you trust that address with your "
                    "key and prompts, write it in `base_url`"
                )
            if status in _FOR_GOOD:
                self._moved[first] = new
            address = new
        raise EndpointError(f"{url} sends every request on to another address, at last to {self._clean(address)[:200]}")

    def _fault(self, status: int, text: str, headers: Mapping[str, str], url: str) -> Fault:
        # Servers quote a wrong key in their answers.
        said = self._clean(text)
        return fault_of(status, said, headers, key_name=self._key_name, model=self.model, url=url)


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        # It refuses half of a surrogate pair and numbers of more than 64 bits.
        return json.dumps(body).encode()


def _may_follow(old: str, new: str) -> bool:
    """Whether a request, with its key, may be redirected: only within the same host, and never from https to http."""
    before, after = urlsplit(old), urlsplit(new)
    safe = after.scheme == "https" or (after.scheme == "http" and before.scheme == "http")
    return safe and after.hostname == before.hostname
