"""A model behind an API: an OpenAI-compatible server by `base_url`, else a provider that litellm knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eva_data.config import ApiModel
from eva_data.config.bodies import misplaced
from eva_data.errors import ConfigError
from eva_data.models.backends import _served
from eva_data.models.player import Player
from eva_data.models.remote.fields import LENGTH

LLM = _served.LLM
REMOTE = True


def player_of(block: ApiModel) -> Player:
    if block.urls:
        return _served.running_player(block)
    from eva_data.models.remote.litellm_provider import key_variable, provider_of

    if (sentence := misplaced(block.extra_body)) is not None:
        raise ConfigError(sentence)
    # This raises ConfigError if litellm does not know the provider.
    key_variable(block)
    name = f"{block.model}@{block.revision or 'unknown'}"
    return Player(block, block.model, name, None, provider=provider_of(block.model))


def llm_fields(player: Player, block: ApiModel) -> dict[str, Any]:
    from eva_data.models.remote.openai_server import NEUTRAL, WITH_TOKEN_IDS

    extra_body: dict[str, Any] = (NEUTRAL if player.is_vllm else {}) | block.extra_body
    # Both were a single setting once, so they enter the ledger's key together.
    engine = extra_body | block.options
    more = {"options": block.options, "renamed": block.fields}
    return {
        "engine": engine | ({"fields": block.fields} if block.fields else {}),
        "model": block.model,
        "extra_body": extra_body | (WITH_TOKEN_IDS if player.is_vllm else {}),
        "tokenizer": block.tokenizer,
        **{name: value for name, value in more.items() if value},
    }


def connection(
    player: Player, block: ApiModel, *, served: Mapping[str, Any] | None, budget: float | None
) -> dict[str, Any]:
    if budget is not None and not _bounded(block):
        raise ConfigError(
            f"`--budget` is set, but nothing bounds the answers of `{block.model}`: send `max_tokens`, or "
            "`max_completion_tokens` in its place"
        )
    if block.urls:
        return _served.reached(block, served=served, budget=budget)
    from eva_data.models.remote.litellm_provider import key_variable

    return _served.reached(block, served=served, budget=budget, key_name=block.api_key_env or key_variable(block))


def _bounded(block: ApiModel) -> bool:
    """Whether a request limits the length of an answer, and with it the cost."""
    given = {"max_tokens": block.max_tokens} | block.extra_body | block.options
    return any(given.get(name) is not None and block.fields.get(name, name) is not None for name in LENGTH)
