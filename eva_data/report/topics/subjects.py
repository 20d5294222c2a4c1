"""All figures on the topics of prompts: topics, their shares, novelty, diversity and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eva_data.dataset.store import Store
from eva_data.method.topics.clusters import Topics, topics_of
from eva_data.report.topics.diversity import Diversity, alarms, diversities
from eva_data.report.topics.embedding import embedded
from eva_data.report.topics.sampling import prompt_sample


@dataclass(frozen=True)
class Subjects:
    """Topics and diversity of the prompts of all iterations."""

    iterations: tuple[int, ...]
    """The iterations with prompts."""
    prompts: int
    """The number of sampled prompts."""
    topics: Topics
    shares: tuple[tuple[float, ...], ...]
    """The share of each topic, by iteration."""
    diversity: tuple[Diversity, ...]
    alarms: tuple[str, ...]


def subjects(store: Store, among: Sequence[int], embeddings: str | None = None) -> Subjects | None:
    """Topics and diversity of a sample of the prompts of these iterations. None without prompts.

    Raises MissingExtraError without scikit-learn.
    """
    sample = prompt_sample(store, among)
    if sample.is_empty():
        return None
    texts, iterations = sample["text"].to_list(), sample["iteration"].cast(int).to_numpy()
    vectors = embedded(texts, embeddings)
    clustered = topics_of(texts, vectors)
    found = diversities(vectors, iterations, sample["prompt_id"].to_list(), sample["root_id"].to_list())
    there = tuple(each.iteration for each in found)
    shares = tuple(clustered.shares(np.asarray(iterations == iteration)) for iteration in there)
    return Subjects(there, len(texts), clustered, shares, tuple(found), tuple(alarms(found)))
