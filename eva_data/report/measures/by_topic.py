"""Scores of solvers by the topics of a set whose prompts have no categories of their own."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eva_data.dataset.evaluations import Compared
from eva_data.method.topics.assign import user_text
from eva_data.method.topics.clusters import topics_of
from eva_data.report.measures.evaluated import unit_of
from eva_data.report.topics.embedding import embedded
from eva_data.statistics.rates import bounded_mean


def by_topic(made: Sequence[Compared], rows: pl.DataFrame) -> dict[str, dict[str, list[float]]]:
    """Key of each comparison -> label of a topic -> estimate with its ends; empty if there are no three topics.

    `rows` are EVALUATIONS. The score of a prompt is the mean over its turns, samples, judges and orders, of right
    answers where a function judged. Ratings are left out, since their scale is not in the rows.
    """
    usable = [each for each in made if unit_of(each) != "rating"]
    own = rows.filter(pl.col("evaluation").is_in([each.key for each in usable]))
    asked = own.filter(pl.col("turn") == 1).unique("prompt_id").sort("prompt_id")
    if asked.is_empty():
        return {}
    texts = asked.select(user_text()).to_series().to_list()
    topics = topics_of(texts, embedded(texts))
    if len(topics.labels) < 3:
        return {}
    topic_of = asked.select("prompt_id", topic=pl.Series([topics.labels[place] for place in topics.of]))
    found: dict[str, dict[str, list[float]]] = {}
    for each in usable:
        score = pl.col("score") if each.right is None else (pl.col("score") >= each.right).cast(pl.Float64)
        scored = own.filter((pl.col("evaluation") == each.key) & pl.col("score").is_not_null())
        scores = scored.group_by("prompt_id").agg(score=score.mean()).sort("prompt_id").join(topic_of, on="prompt_id")
        means = {
            str(label): bounded_mean(part["score"].to_numpy(), 0.0, 1.0)
            for (label,), part in scores.partition_by("topic", as_dict=True).items()
        }
        found[each.key] = {
            label: [means[label].estimate, means[label].low, means[label].high]
            for label in topics.labels
            if label in means
        }
    return found
