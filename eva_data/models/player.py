"""Who plays: from a block of the settings to a model that a job can ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva_data.config import ApiModel, Evolve, Generation, Model, TransformersModel, VllmModel
from eva_data.config.bodies import misplaced
from eva_data.errors import ConfigError
from eva_data.models.remote.fields import LENGTH
from eva_data.models.resolve import resolve
from eva_data.models.vllm.command import SERVED_NAME


@dataclass(frozen=True)
class Player:
    """A model that plays: how it is configured and what it is."""

    block: Model
    name: str
    """As the config calls it."""
    fingerprint: str
    """What it is, by content: the same fingerprint gives the same answers."""
    path: Path | None
    """Its folder on this machine; `None` if it runs elsewhere."""
    is_vllm: bool = False
    """Whether the server takes vLLM's own sampling parameters."""

    @property
    def started_here(self) -> bool:
        """Whether a server has to be started for it."""
        return isinstance(self.block, VllmModel) and not self.block.urls


def player_of(block: Model) -> Player:
    """The model of a block. Raises ModelError or EndpointError where it is not to be had."""
    if isinstance(block, TransformersModel) or (isinstance(block, VllmModel) and not block.urls):
        found = resolve(block.model, block.revision)
        return Player(block, found.name, found.fingerprint, found.path, isinstance(block, VllmModel))
    if isinstance(block, ApiModel) and not block.urls:
        from eva_data.models.remote.litellm_provider import key_variable

        if (sentence := misplaced(block.extra_body)) is not None:
            raise ConfigError(sentence)
        key_variable(block)
        return Player(block, block.model, f"{block.model}@{block.revision or 'unknown'}", None)
    from eva_data.models.listing import look

    served = look(block)
    return Player(block, block.model, served.fingerprint, None, served.is_vllm)


def llm_fields(
    player: Player,
    sampling: Generation | Evolve,
    *,
    seed: int,
    stage: str,
    iteration: int,
    framed: bool = False,
    **overrides: Any,
) -> dict[str, Any]:
    """The fields of the LLM class for this player that determine what it says; `sampling` says how it samples.

    `framed`: the requests hold a prompt, or a prompt and a response, in a template; `max_prompt_tokens` is about
    prompts alone, so only the model's own length bounds them.
    """
    block = player.block
    common = {
        "backend": "transformers" if isinstance(block, TransformersModel) else "remote",
        "fingerprint": player.fingerprint,
        "sampling": {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
        }
        | overrides,
        "max_prompt_tokens": None if framed else block.max_prompt_tokens,
        "system": block.system,
        "seed": seed,
        "stage": stage,
        "iteration": iteration,
    }
    if isinstance(block, TransformersModel):
        return common | {
            "engine": {"dtype": block.dtype},
            "path": str(player.path),
            "device": block.device,
            "dtype": block.dtype,
            "batch_size": block.batch_size,
            "threads": block.threads,
            "trust_remote_code": block.trust_remote_code,
        }
    return common | _remote_fields(player, block)


def _remote_fields(player: Player, block: ApiModel | VllmModel) -> dict[str, Any]:
    from eva_data.models.remote.openai_server import COUNTED, NEUTRAL

    engine: dict[str, Any] = NEUTRAL if player.is_vllm else {}
    more: dict[str, Any]
    if isinstance(block, VllmModel):
        name, tokenizer = block.model, None if player.path is None else str(player.path)
        engine = engine | {"server": "vllm", "dtype": block.dtype, "quantization": block.quantization}
        extra_body, more = NEUTRAL, {}
    else:
        name, tokenizer = block.model, block.tokenizer
        extra_body = engine | block.extra_body
        # Both were one key once, so both stand in the ledger's key in the same way.
        engine = extra_body | block.options
        if block.fields:
            engine = engine | {"fields": block.fields}
        more = {"options": block.options, "renamed": block.fields}
    return {
        "engine": engine,
        "model": SERVED_NAME if player.started_here else name,
        "extra_body": extra_body | (COUNTED if player.is_vllm else {}),
        "tokenizer": tokenizer,
        **{key: value for key, value in more.items() if value},
    }


def connection(player: Player, *, url: str | None, budget: float | None) -> dict[str, Any]:
    """The fields of the LLM class that say how its server is reached; none of them changes an answer.

    `url` is that of the server that was started for it. Raises ConfigError where a budget is set and the price of
    the model is unknown.
    """
    block = player.block
    if isinstance(block, TransformersModel):
        return {}
    from eva_data.models.remote.litellm_provider import price_of

    price = price_of(block)
    if budget is not None and price is None:
        raise ConfigError(
            f"`--budget` is set, but the price of `{block.model}` is unknown: say what it costs in `prices`, "
            "{input: dollars per million tokens, output: ...}"
        )
    if budget is not None and isinstance(block, ApiModel) and not _bounded(block):
        raise ConfigError(
            f"`--budget` is set, but nothing bounds the answers of `{block.model}`: send `max_tokens`, or "
            "`max_completion_tokens` in its place"
        )
    return {
        "urls": [url] if url else list(block.urls),
        "key_env": block.api_key_env,
        "key_name": block.api_key_env or _usual_key(block),
        "max_in_flight": block.max_in_flight,
        "timeout_seconds": block.timeout_seconds,
        "give_up_minutes": block.give_up_minutes,
        # What runs here is known by its files.
        "canary": block.canary and url is None,
        "price": price,
        "budget": budget,
    }


def _bounded(block: ApiModel) -> bool:
    """Whether a request says how long an answer may be, and so what it can cost."""
    given = {"max_tokens": block.max_tokens} | block.extra_body | block.options
    return any(given.get(name) is not None and block.fields.get(name, name) is not None for name in LENGTH)


def _usual_key(block: ApiModel | VllmModel) -> str:
    """What error messages call the variable of the key where none is named."""
    if isinstance(block, VllmModel) or block.urls:
        return "that `api_key_env` names (none is named)"
    from eva_data.models.remote.litellm_provider import key_variable

    return key_variable(block)
