"""Who plays: from a block of the settings to a model that a job can ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from eva_data.config import Evolve, Generation, Model, VllmModel

NOT_ASKED = "not_asked"
"""The error of a call that the ledger does not hold, where nobody is asked."""

_KEPT = "eva_data.models.kept:KeptLLM"


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
    theta: int | None = None
    """The iteration that it was trained on here; None for every other model."""

    @property
    def started_here(self) -> bool:
        """Whether a server has to be started for it."""
        return isinstance(self.block, VllmModel) and not self.block.urls


class Backend(Protocol):
    """What a module of `models.backends` has; a block with `backend: name` goes by the one of that name."""

    LLM: str
    """The subclass of `models.base.LedgerLLM` that asks the model, as `module:class`."""
    REMOTE: bool
    """Whether a server answers, which is then sent more rows at a time."""

    def player_of(self, block: Any) -> Player:
        """The model of a block and what it is by content. Raises ModelError or EndpointError if it cannot be had."""

    def llm_fields(self, player: Player, block: Any) -> dict[str, Any]:
        """The fields of the LLM class that are this backend's own and change no place of asking; `engine` is one.

        `engine` is part of the ledger's key: all that changes an answer beside what every model block has.
        """

    def connection(self, player: Player, block: Any, *, url: str | None, budget: float | None) -> dict[str, Any]:
        """The fields of the LLM class that say how its server is reached; none of them changes an answer."""


def backend_of(block: Model) -> Backend:
    """The module of a block's backend."""
    return cast(Backend, import_module(f"eva_data.models.backends.{block.backend}"))


def player_of(block: Model) -> Player:
    """The model of a block. Raises ModelError or EndpointError where it is not to be had."""
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
    **overrides: Any,
) -> dict[str, Any]:
    """The class that asks this player, as `llm`, and its fields that determine what the player says.

    `sampling` says how it samples. `framed`: the requests hold a prompt, or a prompt and a response, in a template;
    `max_prompt_tokens` is about prompts alone, so only the model's own length bounds them.
    `guide` is the field of a request by which a server guides the decoding.
    """
    block, backend = player.block, backend_of(player.block)
    own = backend.llm_fields(player, block)
    if guide and backend.REMOTE:
        own |= {"engine": own["engine"] | guide, "extra_body": own["extra_body"] | guide}
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


def connection(player: Player, *, url: str | None, budget: float | None) -> dict[str, Any]:
    """The fields of the LLM class that say how its server is reached; none of them changes an answer.

    `url` is that of the server that was started for it. Raises ConfigError where a budget is set and the price of
    the model is unknown.
    """
    return backend_of(player.block).connection(player, player.block, url=url, budget=budget)


def kept_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model as those of KeptLLM."""
    known = {"fingerprint", "engine", "sampling", "max_prompt_tokens", "system", "seed", "stage", "iteration"}
    return {"llm": _KEPT} | {name: value for name, value in fields.items() if name in known}
