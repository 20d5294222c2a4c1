"""Texts as vectors of length 1: by the words in them, or by an embedding model that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from eva_data.errors import EvaError, MissingExtraError
from eva_data.method.topics.words import Vectors, fit_words, unit


def embedded(texts: Sequence[str], model: str | None = None) -> Vectors:
    """A row of length 1 for each text, or a row of zeros for a text without known words.

    `model` is a folder or Hub id for sentence-transformers. Raises MissingExtraError without that package,
    and EvaError if the model cannot be loaded.
    """
    return unit(by_model(texts, model) if model is not None else fit_words(texts).vectors(texts))


def by_model(texts: Sequence[str], model: str) -> Vectors:
    """The embeddings of sentence-transformers."""
    if find_spec("sentence_transformers") is None:
        raise MissingExtraError(
            "an embedding model needs the package `sentence-transformers`, which is not installed: install it with "
            "`pip install sentence-transformers`, or leave --embeddings out"
        )
    import sentence_transformers  # type: ignore[import-not-found, unused-ignore]

    try:
        loaded: Any = sentence_transformers.SentenceTransformer(model)
    except (OSError, ValueError) as error:
        raise EvaError(
            f"the embedding model {model} cannot be loaded ({error}): name a folder or Hub id that "
            "sentence-transformers reads, or leave --embeddings out"
        ) from None
    return np.asarray(loaded.encode(list(texts), show_progress_bar=False), dtype=np.float64)
