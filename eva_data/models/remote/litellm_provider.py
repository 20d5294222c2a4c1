"""Asks any provider that litellm knows: Gemini, Anthropic, OpenAI and a hundred more."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from socket import gaierror
from types import ModuleType
from typing import Any

from eva_data.calls import Message, Sampling
from eva_data.config import ApiModel, Model
from eva_data.errors import ConfigError, EndpointError
from eva_data.models.keys import read_key, redactor
from eva_data.models.remote.budget import Price
from eva_data.models.remote.faults import Outage, Refused, Throttled, Transient, fault_of, retry_after
from eva_data.models.remote.fields import Fields, asking_likelihoods, greedily
from eva_data.models.remote.transport import Reply, read_reply


class Provider:
    """Chat completions of one model through litellm."""

    def __init__(
        self,
        model: str,
        sampling: Sampling,
        *,
        key: str | None,
        key_name: str,
        extra_body: Mapping[str, Any],
        timeout_seconds: float,
        options: Mapping[str, Any] | None = None,
        fields: Mapping[str, str | None] | None = None,
        likeliest: int = 0,
    ) -> None:
        """`likeliest` is how many of the likeliest tokens are asked for; a provider that gives none is not asked."""
        self._litellm = import_litellm()
        self.model, self._key, self._key_name = model, key, key_name
        self._clean = redactor(key)
        self._fields = Fields(model, fields or {})
        self._wanted: dict[str, Any] = {
            "temperature": sampling.temperature,
            # 1 is every provider's default, and some providers refuse it beside a temperature.
            "top_p": sampling.top_p if sampling.top_p < 1 else None,
            "max_tokens": sampling.max_tokens,
        } | dict(options or {})
        # None in `extra_body` takes a field of ours out. All other entries go to the provider.
        self._wanted |= {name: None for name, value in extra_body.items() if value is None}
        self._settings: dict[str, Any] = {
            "model": model,
            # The pool counts and paces retries.
            "num_retries": 0,
            "max_retries": 0,
            "timeout": timeout_seconds,
            "api_key": key,
        }
        if body := {name: value for name, value in extra_body.items() if value is not None}:
            self._settings["extra_body"] = body
        _, provider, _, _ = self._litellm.get_llm_provider(model)
        known = self._litellm.get_supported_openai_params(model=model, custom_llm_provider=provider) or []
        self.answers_n = "n" in known
        likelihoods = asking_likelihoods(likeliest)
        if likelihoods.keys() <= set(known):
            self._wanted = likelihoods | self._wanted

    async def close(self) -> None:
        await self._litellm.close_litellm_async_clients()

    async def ask(self, url: str, messages: Sequence[Message], n: int, *, greedy: int | None = None) -> Reply:
        """See Transport."""
        wanted = self._wanted | ({"n": n} if n > 1 else {})
        if greedy is not None:
            wanted = greedily(wanted, greedy, top_p=None)

        async def send(fields: Mapping[str, Any]) -> Reply:
            asked = dict(fields) | self._settings | {"messages": list(messages)}
            return read_reply(await self._asked(self._litellm.acompletion, url, asked), n, self._clean)

        return await self._fields.accepted(wanted, send, greedy=greedy is not None)

    async def embed(self, url: str, texts: Sequence[str], dimensions: int | None) -> Any:
        """The reply with the texts' vectors. Raise a Fault if there is none."""
        length = {"dimensions": dimensions} if dimensions else {}
        return await self._asked(self._litellm.aembedding, url, self._settings | {"input": list(texts)} | length)

    async def _asked(self, call: Callable[..., Awaitable[Any]], url: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The reply of a function of litellm, as plain values."""
        errors = self._litellm.exceptions
        try:
            response = await call(**fields)
        except errors.ContextWindowExceededError as error:
            raise Refused(f"context_length_exceeded: {self._words(error)}") from None
        except errors.ContentPolicyViolationError as error:
            raise Refused(f"content_filter: {self._words(error)}") from None
        except errors.Timeout:
            raise Transient(f"no reply within {fields['timeout']:g} seconds") from None
        except (errors.RateLimitError, errors.ServiceUnavailableError) as error:
            raise Throttled(self._words(error), retry_after(_headers(error))) from None
        except (errors.APIConnectionError, errors.InternalServerError) as error:
            # litellm uses these two classes for a server that is not there, and for many other errors.
            kind = Outage if _is_no_connection(error) else Transient
            raise kind(self._words(error)) from None
        except errors.UnsupportedParamsError as error:
            raise EndpointError(
                f"`{self.model}` cannot be asked like that: {self._words(error)}; leave the field out with "
                "`fields: {NAME: null}`"
            ) from None
        except self._litellm.openai.APIStatusError as error:
            raise fault_of(
                error.status_code,
                self._words(error),
                _headers(error),
                key_name=self._key_name,
                model=self.model,
                url=url,
            ) from None
        except self._litellm.openai.APIError as error:
            raise Transient(self._words(error)) from None
        found: dict[str, Any] = response.model_dump()
        return found

    def _words(self, error: Exception) -> str:
        return self._clean(" ".join(str(error).split()))[:300]


def _is_no_connection(error: BaseException | None) -> bool:
    """Whether an error, or a cause of it, says that there was no server to connect to."""
    import httpx

    while error is not None:
        if isinstance(error, httpx.ConnectError | ConnectionRefusedError | gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def _headers(error: Exception) -> Mapping[str, str]:
    """The reply's headers, which most of litellm's errors hold, else an empty mapping."""
    found: Mapping[str, str] | None = vars(error).get("litellm_response_headers")
    return found or {}


def key_variable(block: ApiModel) -> str:
    """The environment variable of the key: the one that the block names, else the one that litellm reads.

    Raise ConfigError if there is no such provider, or no key.
    """
    if block.api_key_env is not None:
        read_key(block.api_key_env, block.model)
        return block.api_key_env
    if (provider := provider_of(block.model)) is None:
        raise ConfigError(
            f"litellm knows no provider of the model `{block.model}`: write it as `provider/model`, such as "
            "`gemini/gemini-2.5-flash`, or give the server's `base_url`"
        )
    litellm = import_litellm()
    found = litellm.validate_environment(block.model)
    if not found["keys_in_environment"] and found["missing_keys"]:
        names = " or ".join(found["missing_keys"])
        raise ConfigError(f"the key of `{block.model}` is not set: export {names}, or name another in `api_key_env`")
    return f"{provider.upper()}_API_KEY"


def provider_of(model: str) -> str | None:
    """litellm's name of a model's provider, such as `gemini`; None if litellm knows none."""
    litellm = import_litellm()
    try:
        _, provider, _, _ = litellm.get_llm_provider(model)
    except litellm.exceptions.BadRequestError:
        return None
    return str(provider)


def import_litellm() -> ModuleType:
    """Import litellm so that it neither fetches its table of prices from the network nor prints."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOG", "ERROR")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def price_of(block: Model) -> Price | None:
    """The price of a model: 0 on own hardware, None if it is unknown."""
    if not isinstance(block, ApiModel):
        return (0.0, 0.0)
    if block.prices is not None:
        return (block.prices.input, block.prices.output)
    if block.urls:
        return None
    litellm = import_litellm()
    entry = litellm.model_cost.get(block.model) or litellm.model_cost.get(block.model.partition("/")[2])
    if not entry or "input_cost_per_token" not in entry or "output_cost_per_token" not in entry:
        return None
    return (entry["input_cost_per_token"] * 1e6, entry["output_cost_per_token"] * 1e6)
