"""A model behind an API: an OpenAI-compatible server by `base_url`, else a provider that litellm knows."""

from __future__ import annotations

from typing import Any

from eva_data.config import ApiModel
from eva_data.models.backends import _served
from eva_data.models.player import Player

LLM = _served.LLM
REMOTE = True


def player_of(block: ApiModel) -> Player:
    if block.urls:
        return _served.running_player(block)
    from eva_data.models.remote.litellm_provider import key_variable

    # Raises where litellm does not know the provider.
    key_variable(block)
    return Player(block, block.model, f"{block.model}@{block.revision or 'unknown'}", None)


def llm_fields(player: Player, block: ApiModel) -> dict[str, Any]:
    from eva_data.models.remote.openai_server import NEUTRAL, WITH_TOKEN_IDS

    engine: dict[str, Any] = (NEUTRAL if player.is_vllm else {}) | block.extra_body
    return {
        "engine": engine,
        "model": block.model,
        "extra_body": engine | (WITH_TOKEN_IDS if player.is_vllm else {}),
        "tokenizer": block.tokenizer,
    }


def connection(player: Player, block: ApiModel, *, url: str | None, budget: float | None) -> dict[str, Any]:
    if block.urls:
        return _served.reached(block, url=url, budget=budget)
    from eva_data.models.remote.litellm_provider import key_variable

    return _served.reached(block, url=url, budget=budget, key_name=block.api_key_env or key_variable(block))
