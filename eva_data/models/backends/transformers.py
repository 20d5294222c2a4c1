"""A model folder or Hub id that transformers runs in this machine's memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eva_data.config import TransformersModel
from eva_data.models.player import Player
from eva_data.models.resolve import resolve

LLM = "eva_data.models.local:TransformersLLM"
REMOTE = False


def player_of(block: TransformersModel) -> Player:
    found = resolve(block.model, block.revision)
    return Player(block, found.name, found.fingerprint, found.path)


def llm_fields(player: Player, block: TransformersModel) -> dict[str, Any]:
    return {
        "engine": {"dtype": block.dtype},
        "path": str(player.path),
        "device": block.device,
        "dtype": block.dtype,
        "batch_size": block.batch_size,
        "threads": block.threads,
        "trust_remote_code": block.trust_remote_code,
    }


def connection(
    player: Player, block: TransformersModel, *, served: Mapping[str, Any] | None, budget: float | None
) -> dict[str, Any]:
    return {}
