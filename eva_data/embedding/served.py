"""Embedding models behind an API: any OpenAI-compatible `/embeddings`, else a provider that litellm knows.

A vector is in the ledger, with its bill, before it is used. So a run that is killed, or whose budget ends, pays for no
text again, and processes that share a ledger do not ask for the same text.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from eva_data.calls import Completion, Message, Sampling
from eva_data.config import ApiModel, Embedding
from eva_data.embedding.vectors import STAGE, Make, Vectors, packed, unpacked, vector_key
from eva_data.errors import ConfigError, EndpointError, EvaError
from eva_data.ledger import Bill, Keeper, Ledger
from eva_data.models.keys import read_key
from eva_data.models.remote.budget import Price, Purse
from eva_data.models.remote.endpoints import Pool
from eva_data.models.remote.faults import Fault, Refused, Transient
from eva_data.models.remote.retries import Retries
from eva_data.models.remote.transport import Choice, Reply

_LOOK_SECONDS = 0.5
"""Seconds after which a text that another process asks for is looked up again."""
_TOLD_SECONDS = 30.0
"""Seconds between two lines that say why no vectors come."""
_LOG = logging.getLogger("eva_data")


class EmbeddingTransport(Protocol):
    """A way to ask for vectors."""

    async def embed(self, url: str, texts: Sequence[str], dimensions: int | None) -> Any:
        """The reply as a mapping with `data` and `usage`. Raise a Fault if there is none."""

    async def close(self) -> None:
        """Close the connections."""


class ServedModel:
    """The embedding model of a block with `api: true`."""

    def __init__(self, block: Embedding, budget: float | None) -> None:
        assert block.model is not None
        self.block, self.model, self.budget = block, block.model, budget
        self.price = self._price()
        if budget is not None and self.price is None:
            raise ConfigError(
                f"`--budget` is set, but the price of `{self.model}` is unknown: say what it costs in "
                "`embedding.prices`, {input: dollars per million tokens, output: 0}"
            )

    @property
    def fingerprint(self) -> str:
        length = "" if self.block.dimensions is None else f"+{self.block.dimensions}"
        return f"{self.model}@{self.block.revision or 'unknown'}{length}"

    def through(self, path: Path) -> Make:
        """The function that asks for vectors, by the ledger at `path`."""

        def make(texts: Sequence[str]) -> Vectors:
            try:
                with Ledger(path) as ledger:
                    return asyncio.run(self._asked(ledger, texts))
            except BaseExceptionGroup as group:
                known = group.subgroup(EvaError)
                raise _first(known if known is not None else group) from None

        return make

    async def _asked(self, ledger: Ledger, texts: Sequence[str]) -> Vectors:
        bill = Bill(self.fingerprint, STAGE, 0, 0, None, None, 0.0, None)
        keeper = Keeper(ledger, bill, self.budget)
        purse = Purse(keeper, bill, self.price, 0, limited=self.budget is not None)
        pool = Pool(
            list(self.block.urls) or [self.model],
            self.block.max_in_flight,
            give_up_seconds=self.block.give_up_minutes * 60,
        )
        retries, transport = Retries(pool), self._transport()
        parts = [texts[start : start + self.block.batch] for start in range(0, len(texts), self.block.batch)]
        telling = asyncio.create_task(self._tell(retries))
        try:
            async with keeper, asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._part(part, keeper, purse, retries, transport)) for part in parts]
        finally:
            telling.cancel()
            await transport.close()
        return np.stack([row for task in tasks for row in task.result()])

    async def _tell(self, retries: Retries) -> None:
        """Says again and again why no vectors come, while that is so."""
        while True:
            await asyncio.sleep(_TOLD_SECONDS)
            if waits := retries.waits():
                _LOG.warning("`%s` gives no vectors: %s", self.model, waits)

    async def _part(
        self, texts: Sequence[str], keeper: Keeper, purse: Purse, retries: Retries, transport: EmbeddingTransport
    ) -> list[Vectors]:
        """The vectors of some texts, each from the ledger if it is there by now."""
        keys = {vector_key(self.fingerprint, text): text for text in texts}
        done: dict[bytes, Completion] = {}
        while missing := [key for key in keys if key not in done]:
            found, mine = await keeper.claim(missing)
            done |= found
            ours = [key for key in missing if key in mine]
            if ours:
                once = partial(self._request, [keys[key] for key in ours], ours, keeper, purse, transport)
                try:
                    done |= await retries.ask(once)
                except (Transient, Refused) as fault:
                    keeper.release(ours)
                    raise EndpointError(
                        f"`{self.model}` gives no vectors: {fault}; look at `embedding`, then repeat the command, "
                        "which asks for nothing twice"
                    ) from None
                except Fault:
                    keeper.release(ours)
                    raise
            elif not found:
                # Another process asks for them.
                await asyncio.sleep(_LOOK_SECONDS)
        return [unpacked(done[vector_key(self.fingerprint, text)].text or "") for text in texts]

    async def _request(
        self,
        texts: Sequence[str],
        keys: Sequence[bytes],
        keeper: Keeper,
        purse: Purse,
        transport: EmbeddingTransport,
        url: str,
    ) -> dict[bytes, Completion]:
        async def ask(messages: Sequence[Message], n: int) -> Reply:
            reply = await transport.embed(url, [message["content"] for message in messages], self.block.dimensions)
            rows = read_vectors(reply, len(texts))
            usage = reply.get("usage")
            counted = usage.get("prompt_tokens") if isinstance(usage, Mapping) else None
            tokens = counted if isinstance(counted, int) and 0 <= counted < 2**31 else None
            return Reply(tuple(Choice(packed(row), "stop", 0) for row in rows), tokens, 0)

        asked: list[Message] = [{"role": "user", "content": text} for text in texts]
        reply, bill, reserved = await purse.paid(asked, len(texts), ask)
        done = {
            key: Completion(choice.text, "stop", None, None) for key, choice in zip(keys, reply.choices, strict=True)
        }
        await keeper.keep(done, bill, reserved)
        return done

    def _transport(self) -> EmbeddingTransport:
        key = read_key(self.block.api_key_env, self.model)
        sampling = Sampling(temperature=0, top_p=1, max_tokens=1)
        common: dict[str, Any] = {"key": key, "extra_body": {}, "timeout_seconds": self.block.timeout_seconds}
        if self.block.urls:
            from eva_data.models.remote.openai_server import OpenAIServer

            named = self.block.api_key_env or "that `embedding.api_key_env` names (none is named)"
            return OpenAIServer(self.model, sampling, key_name=named, **common)
        from eva_data.models.remote.litellm_provider import Provider, key_variable

        block = ApiModel(backend="api", model=self.model, api_key_env=self.block.api_key_env)
        return Provider(self.model, sampling, key_name=key_variable(block), **common)

    def _price(self) -> Price | None:
        from eva_data.models.remote.litellm_provider import price_of

        served = ApiModel(
            backend="api", model=self.model, base_url=self.block.base_url, prices=self.block.prices, api_key_env=None
        )
        return price_of(served)


def read_vectors(reply: Any, count: int) -> list[Vectors]:
    """The vectors of a reply, in the order of the texts. Raise Transient if one is missing or is no vector.

    A vector is a list of numbers, or 32-bit numbers in base64.
    """
    data = reply.get("data") if isinstance(reply, Mapping) else None
    if not isinstance(data, list) or len(data) != count:
        raise Transient(f"the reply has {len(data) if isinstance(data, list) else 'no'} vectors for {count} texts")
    entries = [entry if isinstance(entry, Mapping) else {} for entry in data]
    numbered = {entry.get("index", place): entry for place, entry in enumerate(entries)}
    if set(numbered) != set(range(count)):
        raise Transient("the vectors of the reply are not numbered as the texts are")
    rows = [_vector(numbered[place].get("embedding")) for place in range(count)]
    if len({row.shape for row in rows}) > 1:
        raise Transient("the vectors of the reply differ in length")
    return rows


def _vector(found: Any) -> Vectors:
    try:
        if isinstance(found, str):
            row = np.frombuffer(base64.b64decode(found, validate=True), "<f4").astype(np.float32)
        else:
            row = np.asarray(found, np.float32)
    except (ValueError, TypeError, binascii.Error):
        raise Transient("the reply holds something else than vectors of numbers") from None
    if row.ndim != 1 or not len(row) or not np.isfinite(row).all() or not row.any():
        raise Transient("the reply holds something else than vectors of numbers")
    return row


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
