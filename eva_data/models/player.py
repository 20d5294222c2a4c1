"""Turns a block of the settings into a player, a model that a job can ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from eva_data.config import Evolve, Generation, Model, VllmModel

NOT_ASKED = "not_asked"
"""The error of a call that is not in the ledger, if no model is asked."""

_KEPT = "eva_data.models.kept:KeptLLM"


@dataclass(frozen=True)
class Player:
    """A model that plays: its settings and its identity."""

    block: Model
    name: str
    """The model's name in the config."""
    fingerprint: str
    """What the model is, by content. Models with the same fingerprint give the same answers."""
    path: Path | None
    """The model's folder on this machine; None if it runs elsewhere."""
    is_vllm: bool = False
    """Whether the server accepts vLLM's own sampling parameters."""
    theta: int | None = None
    """t if the model is theta_t and was trained by eva-data; None for every other model."""
    provider: str | None = None
    """litellm's name of the provider that is asked; None for a model here or behind a `base_url`."""

    @property
    def started_here(self) -> bool:
        """Whether a server has to be started for the model."""
        return isinstance(self.block, VllmModel) and not self.block.urls


class Backend(Protocol):
    """The members of a module of `models.backends`. A block with `backend: name` uses the module of that name."""

    LLM: str
    """The subclass of `models.base.LedgerLLM` that asks the model, as `module:class`."""
    REMOTE: bool
    """Whether a server answers. Jobs of such a backend have larger shards."""

    def player_of(self, block: Any) -> Player:
        """The model of a block. Raise ModelError or EndpointError if it cannot be found or reached."""

    def llm_fields(self, player: Player, block: Any) -> dict[str, Any]:
        """The fields of this backend's LLM class that do not say how the model is reached. `engine` is one of them.

        `engine` is part of the ledger's key: it holds everything that changes an answer beside what all blocks have.
        """

    def connection(
        self, player: Player, block: Any, *, served: Mapping[str, Any] | None, budget: float | None
    ) -> dict[str, Any]:
        """The fields of the LLM class that say how its server is reached; none of them changes an answer."""


def backend_of(block: Model) -> Backend:
    """The module for a block's backend."""
    return cast(Backend, import_module(f"eva_data.models.backends.{block.backend}"))


def player_of(block: Model) -> Player:
    """The model of a block. Raise ModelError or EndpointError if it cannot be found or reached."""
    return backend_of(block).player_of(block)


def llm_fields(
    player: Player,
    sampling: Generation | Evolve,
    *,
    seed: int,
    stage: str,
    iteration: int,
    framed: bool = False,
    guide: Mapping[str, Any] | None = None,
    likeliest: int = 0,
    **overrides: Any,
) -> dict[str, Any]:
    """The name of the class that asks this player, under `llm`, and the fields that determine its answers.

    `sampling` says how the player samples. `framed` says that the requests hold a prompt, or a prompt and a response,
    within a template. `max_prompt_tokens` is about prompts alone, so only the model's own length bounds such requests.
    `guide` is the field of a request by which a server guides the decoding. `likeliest` asks a server for the
    log-probabilities of so many first tokens; other models give none.
    """
    block, backend = player.block, backend_of(player.block)
    own = backend.llm_fields(player, block)
    if guide and backend.REMOTE:
        own |= {"engine": own["engine"] | guide, "extra_body": own["extra_body"] | guide}
    if likeliest and backend.REMOTE:
        # It enters the ledger's key, since an answer without log-probabilities would not do.
        own |= {"engine": own["engine"] | {"top_logprobs": likeliest}, "likeliest": likeliest}
    return {
        "llm": backend.LLM,
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
        **own,
    }


def connection(player: Player, *, served: Mapping[str, Any] | None, budget: float | None) -> dict[str, Any]:
    """The fields of the LLM class that say how its server is reached; none of them changes an answer.

    `served` are the fields of servers that were started for the player, else None. Raise ConfigError if a budget is set
    and the model's price is unknown.
    """
    return backend_of(player.block).connection(player, player.block, served=served, budget=budget)


def kept_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of KeptLLM for a model's fields."""
    known = {"fingerprint", "engine", "sampling", "max_prompt_tokens", "system", "seed", "stage", "iteration"}
    return {"llm": _KEPT} | {name: value for name, value in fields.items() if name in known}
