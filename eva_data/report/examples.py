"""Real examples for a dataset's card: a seed, what it evolved into, and the pair that came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.lineage import lineage, relatives

LOOKED_AT = 1000
"""Pairs from which the examples are taken; among so many there are some of different seeds."""
SHOWN_STEPS = 2
"""Last evolutions of a lineage that are shown; those between the seed and them are counted."""


@dataclass(frozen=True)
class Example:
    """A pair and where it came from."""

    steps: tuple[tuple[str, str], ...]
    """(what it is, its text), the seed first and the pair's prompt last."""
    left_out: int
    """Evolutions after the seed that are not in `steps`."""
    chosen: str
    rejected: str
    score_chosen: float
    score_rejected: float
    by_people: bool
    """Whether people chose, and not the reward."""


def examples(store: Store, iteration: int, count: int = 3) -> list[Example]:
    """Pairs of different seeds, evolved ones first and the lowest ids first: ids are hashes, so this is a draw.

    Fewer than `count` where there are no more.
    """
    pairs = store.scan("preferences", iteration)
    evolved = pl.col("mix_role") == "evolved"
    drawn = pl.concat([pairs.filter(evolved).head(LOOKED_AT), pairs.filter(~evolved).head(LOOKED_AT)])
    rows = drawn.unique("root_id", keep="first", maintain_order=True).head(count).collect()
    known = relatives(store, iteration, rows["root_id"])
    return [_example(row, known) for row in rows.to_dicts()]


def conversation(messages: Sequence[Mapping[str, str]]) -> str:
    """The text of a conversation; the role stands before each turn unless there is but one."""
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
