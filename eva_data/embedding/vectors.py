"""A text's vector: its type, its key in the ledger, and how it is kept there."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from eva_data.ledger import call_key

Vectors: TypeAlias = NDArray[np.float32]
"""One row per text, of length 1."""

Make: TypeAlias = Callable[[Sequence[str]], Vectors]

STAGE = "embed"
"""The stage under which the ledger bills embeddings."""


def vector_key(fingerprint: str, text: str) -> bytes:
    """The ledger's key of a vector."""
    return call_key({"embedding": fingerprint, "text": text})


def packed(row: NDArray[np.float32]) -> str:
    """A vector as text, in half precision: the cosine of two vectors changes by less than 0.001."""
    return base64.b64encode(unit(row[None])[0].astype("<f2").tobytes()).decode()


def unpacked(text: str) -> Vectors:
    """The vector of `packed`, of length 1 again."""
    row: Vectors = unit(np.frombuffer(base64.b64decode(text), "<f2").astype(np.float32)[None])[0]
    return row


def unit(vectors: NDArray[np.float32]) -> Vectors:
    """Rows of length 1; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-9), np.float32)
