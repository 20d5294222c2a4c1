"""Where prompts come from: a prompt's ancestors, from its seed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from eva_data.dataset.store import Store

COLUMNS = ("prompt_id", "parent_id", "mutation", "prompt")
"""What a relative holds, as in PROMPTS."""


def relatives(store: Store, iteration: int, roots: pl.Series) -> dict[str, dict[str, Any]]:
    """All prompts and surviving evolutions with one of these roots, by their id, up to and with an iteration.

    An evolution that did not survive may repeat its own ancestor. With it a lineage would go round in a circle.
    """
    survivors = store.scan_until("evolutions", iteration).filter(pl.col("reason").is_null())
    rows = [
        table.filter(pl.col("root_id").is_in(roots.implode()) & pl.col("prompt").is_not_null()).select(COLUMNS)
        for table in (survivors, store.scan_until("prompts", iteration))
    ]
    return {row["prompt_id"]: row for row in pl.concat(rows).collect().to_dicts()}


def lineage(prompt: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The ancestors of a prompt among its relatives, the seed first and the prompt itself last."""
    line = [{name: prompt[name] for name in COLUMNS}]
    while (parent := known.get(line[0]["parent_id"])) is not None:
        line.insert(0, dict(parent))
    return line
