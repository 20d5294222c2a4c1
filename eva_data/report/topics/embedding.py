"""Texts as vectors of length 1, by their words or by an embedding model that the user names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eva_data.config import Embedding
from eva_data.embedding.local import by_sentence_transformers, packaged
from eva_data.embedding.packaged import PACKAGED
from eva_data.method.topics.words import Vectors, fit_words, unit


def embedded(texts: Sequence[str], model: str | None = None) -> Vectors:
    """A row of length 1 for each text, or a row of zeros for a text without known words.

    `model` is `e5` or `minilm`, whose weights come with a package, or a folder or Hub id for sentence-transformers.
    Raises MissingExtraError without the package, and ModelError if the model cannot be loaded.
    """
    return unit(by_model(texts, model) if model is not None else fit_words(texts).vectors(texts))


def by_model(texts: Sequence[str], model: str) -> Vectors:
    """The vectors of the embedding model, one row for each text."""
    known = PACKAGED.get(model)
    make = by_sentence_transformers(model) if known is None else packaged(known, Embedding())
    return np.asarray(make(texts), dtype=np.float64)
