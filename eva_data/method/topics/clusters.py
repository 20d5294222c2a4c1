"""Topics as clusters of vectors. The name of a topic is its most typical words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eva_data.method.topics.words import TOKEN, WORDS, Vectors, require_sklearn

MOST_TOPICS = 9
PROMPTS_PER_TOPIC = 10
"""Each topic has at least so many prompts on average."""
LABEL_WORDS = 4


@dataclass(frozen=True)
class Topics:
    """The topic of each prompt, and the label of each topic. The most frequent topic comes first."""

    of: NDArray[np.int64]
    labels: tuple[str, ...]

    def shares(self, which: NDArray[np.bool_]) -> tuple[float, ...]:
        """The share of each topic among these prompts, of which there is at least one."""
        counts = np.bincount(self.of[which], minlength=len(self.labels))
        return tuple((counts / counts.sum()).tolist())


def topics_of(texts: Sequence[str], vectors: Vectors, most: int = MOST_TOPICS) -> Topics:
    """Up to `most` clusters by seeded k-means. There are fewer if prompts or different prompts are few."""
    require_sklearn()
    from sklearn.cluster import KMeans

    different = len(np.unique(vectors.round(9), axis=0))
    count = max(1, min(most, len(texts) // PROMPTS_PER_TOPIC, different))
    found = KMeans(count, n_init=4, random_state=0).fit_predict(vectors).astype(np.int64)
    frequent = np.argsort(-np.bincount(found, minlength=count), kind="stable")
    of = np.argsort(frequent)[found]
    return Topics(of, labels(texts, of, count))


def labels(texts: Sequence[str], of: NDArray[np.int64], count: int) -> tuple[str, ...]:
    """The number and the words of each topic, by class-based TF-IDF (Grootendorst 2022, arXiv 2203.05794).

    A word's weight is its share of the topic's words times log(1 + words per topic / the word's occurrences in all).
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    counting = CountVectorizer(
        token_pattern=TOKEN, max_features=WORDS, stop_words=sorted(ENGLISH_STOP_WORDS), dtype=np.float64
    )
    try:
        counts = counting.fit_transform(texts)
    except ValueError:
        # No word is left in any text.
        return tuple(f"topic {place + 1}" for place in range(count))
    words = np.asarray(counting.get_feature_names_out())
    sums = np.vstack([np.asarray(counts[of == place].sum(axis=0)).ravel() for place in range(count)])
    of_topic = np.maximum(sums.sum(axis=1, keepdims=True), 1)
    weights = sums / of_topic * np.log1p(of_topic.mean() / np.maximum(sums.sum(axis=0), 1))
    named = []
    for place, row in enumerate(weights):
        best = [words[number] for number in np.argsort(-row, kind="stable")[:LABEL_WORDS] if row[number] > 0]
        named.append(f"{place + 1}: {', '.join(best)}" if best else f"topic {place + 1}")
    return tuple(named)
