"""A comparison of two responses for a pairwise reward model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

from eva_data.calls import Message
from eva_data.rewards.local.batches import Item


class Comparison(NamedTuple):
    """Two different responses to one prompt, in the order in which the model sees them."""

    prompt: Sequence[Message]
    first: str
    second: str


Read: TypeAlias = Callable[[Iterable[tuple[bytes, Comparison]]], Iterator[Item]]
"""Writes comparisons for the model, one Item for each pair of a key and a comparison."""
