"""Makes scorers, which score responses, from the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from eva_data.config import Classifier, OneReward, Pairwise, Reward, RewardServer, Several
from eva_data.errors import ConfigError
from eva_data.ledger import call_key
from eva_data.models.player import Player
from eva_data.models.resolve import resolve


@dataclass(frozen=True)
class Scorer:
    """A reward: its settings and its identity."""

    block: OneReward
    fingerprint: str
    """The reward's name in the column `reward_model` and in the ledger."""
    path: Path | None = None
    """The reward model's folder on this machine; None if it has none."""
    judge: Player | None = None
    """The language model that rates; None if the reward is not a judge."""
    judges: tuple[Player, ...] = ()
    """The language models that compare; none if the reward is not a tournament."""

    @property
    def asked(self) -> tuple[Player, ...]:
        """All language models that the reward asks."""
        return self.judges if self.judge is None else (self.judge,)


def scorers_of(reward: Reward | None) -> tuple[Scorer, ...]:
    """The configured reward, or all of several rewards. Raise ConfigError if there is none."""
    if reward is None:
        raise ConfigError("`reward` is missing: name what scores a response, for example a verifier")
    blocks = reward.rewards if isinstance(reward, Several) else (reward,)
    return tuple(_scorer_of(block) for block in blocks)


def _scorer_of(block: OneReward) -> Scorer:
    scorer: Scorer = import_module(f"eva_data.rewards.backends.{block.backend}").scorer_of(block)
    return scorer


def reward_model(scorers: Sequence[Scorer]) -> str:
    """The value of the column `reward_model`."""
    names = [scorer.fingerprint for scorer in scorers]
    return names[0] if len(names) == 1 else f"mean({', '.join(names)})"


def model_here(block: Classifier | Pairwise | RewardServer) -> Scorer:
    """The scorer of a reward model with a folder on this machine; a Hub id is downloaded."""
    found = resolve(block.model, block.revision)
    kept = {"model", "revision", "device"}
    settings = {key: value for key, value in block.identity().items() if key not in kept}
    return Scorer(block, f"{block.backend}:{found.fingerprint}:{short_hash(settings)}", found.path)


def short_hash(values: dict[str, Any]) -> str:
    """A short hash of settings for a fingerprint."""
    return call_key(values).hex()[:8]
