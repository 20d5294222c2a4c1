"""Texts as vectors by the words in them: TF-IDF, then a truncated singular value decomposition.

This needs no weights, so none of unclear origin, works in any language that is written in letters, and gives the same
vectors every time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eva_data.errors import MissingExtraError

Vectors = NDArray[np.float64]

DIMENSIONS = 64
WORDS = 30_000
"""The most frequent words that count."""
# Words of two letters and more; of writings without blanks between words, characters in twos.
TOKEN = r"[\u3040-\u30ff\u3400-\u9fff]{1,2}|[^\W\d_\u3040-\u30ff\u3400-\u9fff]{2,}"


@dataclass(frozen=True)
class WordSpace:
    """The words of some texts, by which any text becomes a vector (latent semantic analysis)."""

    counting: Any
    """A fitted TfidfVectorizer; None if the texts hold no word."""
    projection: Any
    """A fitted TruncatedSVD; None if there are too few words or texts for it."""

    def vectors(self, texts: Sequence[str]) -> Vectors:
        """A row for each text, which is zero where the space knows no word of the text."""
        if self.counting is None:
            return np.zeros((len(texts), 1))
        weights = self.counting.transform(texts)
        return np.asarray(weights.toarray() if self.projection is None else self.projection.transform(weights))


def fit_words(texts: Sequence[str], dimensions: int = DIMENSIONS) -> WordSpace:
    """The space of these texts, which depends on their order in the last bits only. Raise MissingExtraError without
    scikit-learn."""
    require_sklearn()
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    counting = TfidfVectorizer(token_pattern=TOKEN, sublinear_tf=True, max_features=WORDS, dtype=np.float64)
    try:
        weights = counting.fit_transform(texts)
    except ValueError:
        # "empty vocabulary": scikit-learn has no other word for it.
        return WordSpace(None, None)
    kept = min(dimensions, min(weights.shape) - 1)
    if kept < 1:
        return WordSpace(counting, None)
    # Equal texts have no variance, of which scikit-learn then takes shares that nobody reads.
    with np.errstate(divide="ignore", invalid="ignore"):
        return WordSpace(counting, TruncatedSVD(kept, random_state=0).fit(weights))


def unit(vectors: Vectors) -> Vectors:
    """The rows at length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-9))


def require_sklearn() -> None:
    """Raise MissingExtraError without scikit-learn."""
    if find_spec("sklearn") is None:
        raise MissingExtraError.of("scikit-learn", "report")
