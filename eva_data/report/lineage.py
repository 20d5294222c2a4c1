"""The origin of prompts: a prompt's ancestors, from its seed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from eva_data.dataset.store import Store

COLUMNS = ("prompt_id", "parent_id", "mutation", "prompt")
"""The columns of a relative, from PROMPTS."""


def most_informative(store: Store, iteration: int, count: int) -> tuple[pl.DataFrame, int]:
    """Up to `count` PREFERENCES of an iteration, and how many there are in all.

    They are those of the highest `a_min`, of evolved prompts if there are any.
    """
    pairs = store.scan("preferences", iteration)
    order = ["a_min", "prompt_id", "pair_id"]
    ranked = pairs.select(*order, evolved=pl.col("mix_role") == "evolved").collect(engine="streaming")
    evolved = ranked.filter("evolved")
    first = (evolved if evolved.height else ranked).sort(order, descending=[True, False, False]).head(count)
    rows = pairs.filter(
        pl.col("prompt_id").is_in(first["prompt_id"].implode()) & pl.col("pair_id").is_in(first["pair_id"].implode())
    ).collect(engine="streaming")
    return rows.sort(order, descending=[True, False, False]), ranked.height


def relatives(store: Store, iteration: int, roots: pl.Series) -> dict[str, dict[str, Any]]:
    """Id -> prompt or surviving evolution with one of these roots, up to and including an iteration.

    An evolution that did not survive may repeat its own ancestor. With it a lineage would be a circle.
    """
    survivors = store.scan_until("evolutions", iteration).filter(pl.col("reason").is_null())
    rows = [
        table.filter(pl.col("root_id").is_in(roots.implode()) & pl.col("prompt").is_not_null()).select(COLUMNS)
        for table in (survivors, store.scan_until("prompts", iteration))
    ]
    return {row["prompt_id"]: row for row in pl.concat(rows).collect(engine="streaming").to_dicts()}


def lineage(prompt: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The ancestors of a prompt among its relatives, from the seed to the prompt itself."""
    line = [{name: prompt[name] for name in COLUMNS}]
    while (parent := known.get(line[0]["parent_id"])) is not None:
        line.insert(0, dict(parent))
    return line
