"""Batches of tokenised texts of similar length, within a budget of tokens. A batch is halved if memory runs out."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

MOST_PADDING = 0.05
"""Most padding in a batch, as a share of its tokens. A half-full batch costs less than much padding: a text of 20
tokens must not be padded to 400."""


@dataclass(frozen=True)
class Item:
    """The tokens of a text, or the reason why the model cannot read it."""

    key: bytes
    """The text's key in the ledger."""
    tokens: array[int] = field(default_factory=lambda: array("i"))
    refused: str | None = None


Compute = Callable[[Sequence[Item]], list[float]]
"""Gives one value per item. The value of an item must not depend on the other items."""


def cut(items: Iterable[Item], batch_tokens: int) -> Iterator[list[Item]]:
    """Put every item into exactly one batch, the longest first. The batches depend on the items alone.

    The number of rows times the length of the longest is at most `batch_tokens`, unless a single item is longer.
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
    """The share of padding among all computed tokens, from 0 to 1."""
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
    """Computes batches. A batch that does not fit in memory is halved, and so are its halves."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._too_large: float = math.inf
        """The smallest number of tokens, of several rows, that did not fit in memory. So many are not tried again."""

    def __call__(self, batch: Sequence[Item]) -> list[float | None]:
        """One value per item; None if an item does not fit in memory even alone."""
        from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

        size = len(batch) * max(len(item.tokens) for item in batch)
        if len(batch) == 1 or size < self._too_large:
            try:
                return [*self._compute(batch)]
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
            # This is outside `except`, because the traceback there keeps the tensors alive.
            clear_device_cache(garbage_collection=True)
            if len(batch) == 1:
                return [None]
            self._too_large = size
        middle = len(batch) // 2
        return self(batch[:middle]) + self(batch[middle:])
