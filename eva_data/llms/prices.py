"""What a provider's model costs, by litellm's table or by the settings."""

from __future__ import annotations

import os
from types import ModuleType

from eva_data.config import ApiModel, Model
from eva_data.llms.spending import Price


def import_litellm() -> ModuleType:
    """The library, told not to fetch its table of prices from the network and not to print."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("LITELLM_LOG", "ERROR")
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def price_of(block: Model) -> Price | None:
    """Dollars per million tokens, in and out: 0 on own hardware, None where nobody knows."""
    if not isinstance(block, ApiModel):
        return (0.0, 0.0)
    if block.prices is not None:
        return (block.prices.input, block.prices.output)
    if block.urls:
        return None
    litellm = import_litellm()
    entry = litellm.model_cost.get(block.model) or litellm.model_cost.get(block.model.partition("/")[2])
    if not entry or "input_cost_per_token" not in entry or "output_cost_per_token" not in entry:
        return None
    return (entry["input_cost_per_token"] * 1e6, entry["output_cost_per_token"] * 1e6)
