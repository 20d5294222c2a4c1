"""What the backends share whose model runs behind a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eva_data.config import ApiModel, VllmModel
from eva_data.errors import ConfigError
from eva_data.models.listing import look
from eva_data.models.player import Player

LLM = "eva_data.models.remote.llm:RemoteLLM"
NO_KEY = "that `api_key_env` names (none is named)"
"""What error messages call the variable of the key if `api_key_env` is not set."""


def running_player(block: ApiModel | VllmModel) -> Player:
    """The model behind a server at `base_url`."""
    served = look(block)
    return Player(block, block.model, served.fingerprint, None, served.is_vllm)


def reached(
    block: ApiModel | VllmModel, *, served: Mapping[str, Any] | None, budget: float | None, key_name: str = NO_KEY
) -> dict[str, Any]:
    """The fields that say how a server is reached. `served` are those of servers that were started here, else None.

    Raise ConfigError if a budget is set and the model's price is unknown.
    """
    from eva_data.models.remote.litellm_provider import price_of

    price = price_of(block)
    if budget is not None and price is None:
        raise ConfigError(
            f"`--budget` is set, but the price of `{block.model}` is unknown: say what it costs in `prices`, "
            "{input: dollars per million tokens, output: ...}"
        )
    return {
        **({"urls": list(block.urls)} if served is None else served),
        # A server that was started here has a key of its own.
        "key_env": block.api_key_env if served is None else None,
        "key_name": block.api_key_env or key_name,
        "max_in_flight": block.max_in_flight,
        "timeout_seconds": block.timeout_seconds,
        "give_up_minutes": block.give_up_minutes,
        # A model that was started here is known by its files.
        "canary": block.canary and served is None,
        "price": price,
        "budget": budget,
    }
