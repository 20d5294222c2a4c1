"""The pairs of an iteration as a reviewer sees them: two responses in blind order, and nothing that favours one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eva_data.foreign import visible
from eva_data.iteration.run import Run
from eva_data.review.blind import SLOT_ORDERS, Order
from eva_data.review.push import chosen_pairs, parents_of
from eva_data.review.record import content_of


@dataclass(frozen=True)
class PairSheet:
    """One pair for a reviewer. Control characters and direction marks in its texts are visible as escapes."""

    pair_id: str
    content: str
    """A short hash of the texts, so that an answer stays with what it was given to."""
    order: str
    """Which response is shown first, in SLOT_ORDERS. The reviewer does not see it."""
    prompt: tuple[Mapping[str, str], ...]
    """Its turns, with `role` and `content`."""
    parent: tuple[Mapping[str, str], ...]
    """The turns of the prompt that it was made from; empty for a seed."""
    first: str
    second: str

    def shown(self) -> dict[str, Any]:
        """What the reviewer's page gets."""
        names = ("pair_id", "content", "prompt", "parent", "first", "second")
        found = {name: getattr(self, name) for name in names}
        return found | {name: list(found[name]) for name in ("prompt", "parent")}


def sheets_of(run: Run, iteration: int, *, limit: int, order: Order) -> list[PairSheet]:
    """At most `limit` pairs of an iteration's build, in the order of `choose`.

    Raise StaleError if the iteration is not built, and DataError if its tables were changed or hold no such pair.
    """
    chosen = chosen_pairs(run, iteration, limit, order)
    parents = parents_of(run, iteration, chosen)
    return [_sheet(row, parents.get(row["parent_id"], ())) for row in chosen.to_dicts()]


def _sheet(row: Mapping[str, Any], parent: Sequence[Mapping[str, str]]) -> PairSheet:
    sides = ("chosen", "rejected") if row["order"] == SLOT_ORDERS[0] else ("rejected", "chosen")
    first, second = (visible(row[side][-1]["content"], lines=True) for side in sides)
    return PairSheet(
        row["pair_id"], content_of(row), row["order"], _turns(row["prompt"]), _turns(parent), first, second
    )


def _turns(messages: Sequence[Mapping[str, str]]) -> tuple[dict[str, str], ...]:
    return tuple({"role": each["role"], "content": visible(each["content"], lines=True)} for each in messages)
