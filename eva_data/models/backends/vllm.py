"""A model folder or Hub id that vLLM serves: started here, or running already at `base_url`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eva_data.config import VllmModel
from eva_data.models.backends import _served
from eva_data.models.player import Player
from eva_data.models.resolve import resolve
from eva_data.models.vllm.command import SERVED_NAME

LLM = _served.LLM
REMOTE = True


def player_of(block: VllmModel) -> Player:
    if block.urls:
        return _served.running_player(block)
    found = resolve(block.model, block.revision)
    return Player(block, found.name, found.fingerprint, found.path, is_vllm=True)


def llm_fields(player: Player, block: VllmModel) -> dict[str, Any]:
    from eva_data.models.remote.openai_server import NEUTRAL, WITH_TOKEN_IDS

    engine = NEUTRAL if player.is_vllm else {}
    return {
        "engine": engine | {"server": "vllm", "dtype": block.dtype, "quantization": block.quantization},
        "model": SERVED_NAME if player.started_here else block.model,
        "extra_body": NEUTRAL | (WITH_TOKEN_IDS if player.is_vllm else {}),
        "tokenizer": None if player.path is None else str(player.path),
    }


def connection(
    player: Player, block: VllmModel, *, served: Mapping[str, Any] | None, budget: float | None
) -> dict[str, Any]:
    return _served.reached(block, served=served, budget=budget)
