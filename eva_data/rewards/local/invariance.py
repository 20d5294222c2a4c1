"""Checks that a reward model gives a text the same score alone and in a batch with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eva_data.errors import ModelError
from eva_data.rewards.local.batches import Item

BOUNDS = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""Dtype -> largest difference of two scores; relative to the score if that is above 1, as rounding is."""
MIXED = 4
"""Number of texts in the mixed batch."""
MIXED_TOKENS = 4096
"""Most tokens of the mixed batch, if there are short enough texts: the check costs no more than a batch."""


def check(
    compute: Callable[[Sequence[Item]], list[float | None]],
    items: Sequence[Item],
    *,
    batch_tokens: int,
    bound: float,
    model: str,
) -> None:
    """Score some texts alone and together. Raise ModelError if that makes a difference.

    The lengths of the texts are as different as the budget allows, so the shorter texts are padded. If the budget
    never allows two texts in a batch, nothing is checked.
    """
    chosen = (
        _spread(items, MIXED, min(batch_tokens, MIXED_TOKENS))
        or _spread(items, MIXED, batch_tokens)
        or _spread(items, 2, batch_tokens)
    )
    if not chosen:
        return
    alone = [value for item in chosen for value in compute([item])]
    together = compute(chosen)
    worst, place = max((_distance(a, b), index) for index, (a, b) in enumerate(zip(alone, together, strict=True)))
    if worst > bound:
        lengths = ", ".join(str(len(item.tokens)) for item in chosen)
        raise ModelError(
            f"the reward model {model} gives a text {alone[place]} alone and {together[place]} in a batch with others "
            f"(lengths {lengths} tokens); they may differ by {bound:g}, relative to a score above 1: if that is "
            "rounding, set `reward.dtype: float32` or a wider `reward.invariance`, else `reward.batch_tokens: 1`, "
            "which scores every text alone"
        )


def _spread(items: Sequence[Item], count: int, batch_tokens: int) -> list[Item]:
    """`count` items, from the shortest to the longest, that fit in a batch; empty if there are not so many."""
    fitting = [item for item in items if len(item.tokens) * count <= batch_tokens]
    if len(fitting) < count:
        return []
    fitting.sort(key=lambda item: (len(item.tokens), item.key))
    return [fitting[place * (len(fitting) - 1) // (count - 1)] for place in range(count)]


def _distance(alone: float | None, together: float | None) -> float:
    if alone is None or together is None:
        # One of them did not fit in memory, which says nothing about the model.
        return 0.0
    if alone == together or (alone != alone and together != together):
        return 0.0
    distance = abs(alone - together) / max(1.0, abs(alone))
    return distance if distance == distance else float("inf")
