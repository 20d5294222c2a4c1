"""Every provider that litellm knows: Gemini, Anthropic, OpenAI and a hundred more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eva_data.calls import Message, Sampling
from eva_data.errors import EndpointError
from eva_data.keys import without_keys
from eva_data.llms.faults import Outage, Refused, Throttled, Transient, fault_of, retry_after
from eva_data.llms.openai_server import read_reply
from eva_data.llms.transport import Reply


class Provider:
    """Chat completions of one model, by litellm."""

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
        from eva_data.llms.prices import import_litellm

        self._litellm = import_litellm()
        self._model, self._key, self._key_name = model, key, key_name
        self._fields: dict[str, Any] = {
            "model": model,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            # Retries are counted and paced by the pool.
            "num_retries": 0,
            "max_retries": 0,
            "timeout": timeout_seconds,
            "api_key": key,
        } | dict(extra_body)
        if sampling.top_p < 1:
            # 1 is every provider's default, and some refuse it beside a temperature.
            self._fields["top_p"] = sampling.top_p
        _, provider, _, _ = self._litellm.get_llm_provider(model)
        known = self._litellm.get_supported_openai_params(model=model, custom_llm_provider=provider) or []
        self.answers_n = "n" in known

    async def close(self) -> None:
        await self._litellm.close_litellm_async_clients()

    async def ask(self, url: str, messages: Sequence[Message], n: int, *, greedy: int | None = None) -> Reply:
        """See Transport."""
        fields = self._fields | {"messages": list(messages)}
        if n > 1:
            fields["n"] = n
        if greedy is not None:
            fields |= {"temperature": 0.0, "max_tokens": greedy}
            fields.pop("top_p", None)
        errors = self._litellm.exceptions
        try:
            response = await self._litellm.acompletion(**fields)
        except errors.ContextWindowExceededError as error:
            raise Refused(f"context_length_exceeded: {self._words(error)}") from None
        except errors.ContentPolicyViolationError as error:
            raise Refused(f"content_filter: {self._words(error)}") from None
        except errors.Timeout:
            raise Transient(f"no reply within {fields['timeout']:g} seconds") from None
        except (errors.RateLimitError, errors.ServiceUnavailableError) as error:
            raise Throttled(self._words(error), retry_after(_headers(error))) from None
        except errors.APIConnectionError as error:
            raise Outage(f"cannot connect: {self._words(error)}") from None
        except errors.UnsupportedParamsError as error:
            raise EndpointError(f"{self._model} cannot be asked like that: {self._words(error)}") from None
        except self._litellm.openai.APIStatusError as error:
            raise fault_of(
                error.status_code,
                self._words(error),
                _headers(error),
                key_name=self._key_name,
                model=self._model,
                url=url,
            ) from None
        except self._litellm.openai.APIError as error:
            raise Transient(self._words(error)) from None
        return read_reply(response.model_dump(), n)

    def _words(self, error: Exception) -> str:
        return without_keys(" ".join(str(error).split()), self._key)[:300]


def _headers(error: Any) -> Mapping[str, str]:
    response = error.response
    return dict(response.headers) if response is not None else {}
