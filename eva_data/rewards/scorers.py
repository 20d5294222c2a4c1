"""What scores responses, resolved from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva_data.config import Judge, OneReward, Reward, RewardServer, Several, Verifier
from eva_data.errors import ConfigError
from eva_data.ledger import call_key
from eva_data.models.player import Player, player_of
from eva_data.models.resolve import resolve


@dataclass(frozen=True)
class Scorer:
    """A reward as it is configured and what it is."""

    block: OneReward
    fingerprint: str
    """Its name in the column `reward_model` and in the ledger."""
    path: Path | None = None
    """The reward model's folder on this machine."""
    judge: Player | None = None


def scorers_of(reward: Reward | None) -> tuple[Scorer, ...]:
    """The configured reward, or all of several; ConfigError where there is none."""
    if reward is None:
        raise ConfigError("`reward` is missing: name what scores a response, for example a verifier")
    blocks = reward.rewards if isinstance(reward, Several) else (reward,)
    return tuple(_scorer_of(block) for block in blocks)


def reward_model(scorers: Sequence[Scorer]) -> str:
    """What the rewards come from, for the column `reward_model`."""
    names = [scorer.fingerprint for scorer in scorers]
    return names[0] if len(names) == 1 else f"mean({', '.join(names)})"


def _scorer_of(block: OneReward) -> Scorer:
    if isinstance(block, Verifier):
        from eva_data.rewards.verifier import fingerprint

        return Scorer(block, fingerprint(block.function, block.version, block.answers))
    if isinstance(block, Judge):
        judge = player_of(block.judge)
        asked = _short_hash(block.data() | {"judge": judge.block.data()})
        return Scorer(block, f"judge:{judge.fingerprint}:{asked}", judge=judge)
    if isinstance(block, RewardServer) and block.urls:
        from eva_data.models.listing import look

        return Scorer(block, f"server:{look(block).fingerprint}:{_short_hash({'tokenizer': block.tokenizer})}")
    found = resolve(block.model, block.revision)
    kept = {"model", "revision", "device"}
    settings = {key: value for key, value in block.data().items() if key not in kept}
    return Scorer(block, f"{block.backend}:{found.fingerprint}:{_short_hash(settings)}", found.path)


def _short_hash(values: dict[str, Any]) -> str:
    return call_key(values).hex()[:8]
