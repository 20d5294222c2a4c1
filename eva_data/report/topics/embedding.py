"""Texts as vectors of length 1, by their words or by an embedding model that the user names.

The default is TF-IDF and a truncated singular value decomposition (latent semantic analysis): it needs no
weights of unclear origin, works in any language that is written in letters, and always gives the same vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eva_data.errors import EvaError, MissingExtraError

Vectors = NDArray[np.float64]

DIMENSIONS = 64
WORDS = 30_000
"""So many of the most frequent words count."""
# Words of two letters or more. In scripts without blanks between words, pairs of characters.
TOKEN = r"[\u3040-\u30ff\u3400-\u9fff]{1,2}|[^\W\d_\u3040-\u30ff\u3400-\u9fff]{2,}"


def embedded(texts: Sequence[str], model: str | None = None) -> Vectors:
    """A row of length 1 for each text, or a row of zeros for a text without known words.

    `model` is a folder or Hub id for sentence-transformers. Raises MissingExtraError without that package,
    and EvaError if the model cannot be loaded.
    """
    vectors = by_model(texts, model) if model is not None else by_words(texts)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-9))


def by_words(texts: Sequence[str], dimensions: int = DIMENSIONS) -> Vectors:
    """Latent semantic analysis of the texts. All zeros if they have no words."""
    require_sklearn()
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    counting = TfidfVectorizer(token_pattern=TOKEN, sublinear_tf=True, max_features=WORDS, dtype=np.float64)
    try:
        weights = counting.fit_transform(texts)
    except ValueError:
        # "empty vocabulary". scikit-learn has no error class of its own for it.
        return np.zeros((len(texts), 1))
    kept = min(dimensions, min(weights.shape) - 1)
    if kept < 1:
        return np.asarray(weights.toarray())
    # Equal texts have no variance. scikit-learn then divides by 0 for shares that are not used.
    with np.errstate(invalid="ignore"):
        return np.asarray(TruncatedSVD(kept, random_state=0).fit_transform(weights))


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


def require_sklearn() -> None:
    """Raise MissingExtraError without scikit-learn."""
    if find_spec("sklearn") is None:
        raise MissingExtraError.of("scikit-learn", "report")
