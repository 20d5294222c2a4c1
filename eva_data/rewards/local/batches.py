"""Batches of tokenised texts: of like length, within a budget of tokens, halved where memory runs out."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST_PADDING = 0.05
"""Most padding in a batch, as a share of its tokens. A batch that is left half full for it costs less than padding
does: a text of 20 tokens is never computed as wide as one of 400."""


@dataclass(frozen=True)
class Item:
    """A text as the model reads it, or the reason why it cannot."""

    key: bytes
    """Its key in the ledger."""
    tokens: array[int] = field(default_factory=lambda: array("i"))
    refused: str | None = None


Compute = Callable[[Sequence[Item]], list[float]]
"""One value per item; an item's value must not depend on the others."""


def cut(items: Iterable[Item], batch_tokens: int) -> Iterator[list[Item]]:
    """Every item in exactly one batch, the longest first; what a batch holds follows from the items alone.

    Rows times the longest of them is at most `batch_tokens`, but for an item that is longer alone.
    """
    batch: list[Item] = []
    filled = 0
    for item in sorted(items, key=lambda item: (-len(item.tokens), item.key)):
        if batch:
            size = len(batch[0].tokens) * (len(batch) + 1)
            if size > batch_tokens or size - filled - len(item.tokens) > MOST_PADDING * size:
                yield batch
                batch, filled = [], 0
        batch.append(item)
        filled += len(item.tokens)
    if batch:
        yield batch


def padding(batches: Iterable[Sequence[Item]]) -> float:
    """The share of padding among all tokens that are computed."""
    widest = [(max(len(item.tokens) for item in batch) * len(batch), batch) for batch in batches]
    computed = sum(size for size, _ in widest)
    return 1 - sum(len(item.tokens) for _, batch in widest for item in batch) / computed if computed else 0.0


def padded(batch: Sequence[Item], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, padded on the right."""
    import torch

    longest = max(len(item.tokens) for item in batch)
    ids = torch.full((len(batch), longest), pad, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, item in enumerate(batch):
        ids[row, : len(item.tokens)] = torch.frombuffer(item.tokens, dtype=torch.int32)
        mask[row, : len(item.tokens)] = 1
    return ids.to(device), mask.to(device)


class Halving:
    """Computes batches; one that does not fit in memory is computed in halves, and these again."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._too_large: float = math.inf
        """Fewest tokens of several rows that did not fit: as many are not tried again."""

    def __call__(self, batch: Sequence[Item]) -> list[float | None]:
        """One value per item, None for one that does not fit even alone."""
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        size = len(batch) * max(len(item.tokens) for item in batch)
        if len(batch) == 1 or size < self._too_large:
            try:
                return [*self._compute(batch)]
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
            # Outside of `except`, whose traceback holds on to the tensors.
            clear_device_cache(garbage_collection=True)
            if len(batch) == 1:
                return [None]
            self._too_large = size
        middle = len(batch) // 2
        return self(batch[:middle]) + self(batch[middle:])
