"""Real examples for a dataset's card: a seed, its evolutions, and the resulting pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.lineage import lineage, relatives

LOOKED_AT = 1000
"""Examples are taken from so many pairs. That is enough to find pairs of different seeds."""
SHOWN_STEPS = 2
"""So many last evolutions of a lineage are shown. The earlier evolutions are counted."""


@dataclass(frozen=True)
class Example:
    """A pair and its origin."""

    steps: tuple[tuple[str, str], ...]
    """(label, text), from the seed to the pair's prompt."""
    left_out: int
    """The number of evolutions after the seed that are not in `steps`."""
    chosen: str
    rejected: str
    score_chosen: float
    score_rejected: float
    by_people: bool
    """Whether people chose instead of the reward."""


def examples(store: Store, iteration: int, count: int = 3) -> list[Example]:
    """Pairs of different seeds, evolved prompts first, then by id. Ids are hashes, so this is a random draw.

    There are fewer than `count` if the iteration has no more.
    """
    pairs = store.scan("preferences", iteration)
    evolved = pl.col("mix_role") == "evolved"
    drawn = pl.concat([pairs.filter(evolved).head(LOOKED_AT), pairs.filter(~evolved).head(LOOKED_AT)])
    rows = drawn.unique("root_id", keep="first", maintain_order=True).head(count).collect()
    known = relatives(store, iteration, rows["root_id"])
    return [_example(row, known) for row in rows.to_dicts()]


def conversation(messages: Sequence[Mapping[str, str]]) -> str:
    """The text of a conversation. In a conversation of several turns, each turn begins with its role."""
    if len(messages) == 1:
        return messages[0]["content"]
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _example(pair: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]]) -> Example:
    line = lineage(pair, known)
    shown = line if len(line) <= 1 + SHOWN_STEPS else [line[0], *line[-SHOWN_STEPS:]]
    return Example(
        steps=tuple((row["mutation"] or "seed", conversation(row["prompt"])) for row in shown),
        left_out=len(line) - len(shown),
        chosen=conversation(pair["chosen"]),
        rejected=conversation(pair["rejected"]),
        score_chosen=pair["score_chosen"],
        score_rejected=pair["score_rejected"],
        by_people=pair["verdict_by"] == "human",
    )
