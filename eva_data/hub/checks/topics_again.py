"""Finds the topics of an iteration's prompts again, for `verify`: draw and mix are replayed by the published topics."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec

import polars as pl

from eva_data.dataset.compose import TOPICS_BY
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import Table, in_memory
from eva_data.dataset.staleness import config_of
from eva_data.dataset.store import Store
from eva_data.iteration.stages import to_mix, topic_model, uses_topics

OTHERWISE = 0.01
"""Share of prompts between two topics whose topic may come out otherwise, since another processor rounds otherwise."""


def replay_topics(store: Store, manifest: Manifest, tables: Mapping[str, Table], unknown: list[str]) -> list[str]:
    """Prompts whose published topic is not what follows from the prompts of iteration 1.

    Topics of seeds that the mix did not take are not checked. `unknown` is told what cannot be computed here.
    """
    topics, iteration = in_memory(tables["topics"]), manifest.iteration
    if not uses_topics(config_of(manifest)) or iteration == 1:
        return [f"topics: {topics.height} rows, where no setting asks for topics"] if topics.height else []
    if find_spec("sklearn") is None:
        unknown.append(f"the topics of the prompts, without {TOPICS_BY}")
        return []
    before = store.at(iteration - 1, manifest.previous.revision if manifest.previous else 0)
    earlier, prompts = before.scan("prompts", iteration - 1), tables["prompts"].lazy()
    again = topic_model(store).of(to_mix(earlier, tables["evolutions"], prompts), iteration)
    both = again.join(topics, on="prompt_id", how="left", suffix="_published")
    needed = both.join(in_memory(prompts.select("prompt_id")), on="prompt_id", how="semi")
    missing = needed.filter(pl.col("iteration_published").is_null()).height
    if missing:
        return [f"topics: {missing} prompts of iteration {iteration} have no row"]
    known = both.filter(pl.col("iteration_published").is_not_null())
    other = known.filter(
        pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"{name}_published")) for name in ("topic", "words"))
    )
    if other.is_empty():
        return []
    said = f"{other.height} of {known.height} topics come out otherwise"
    used = manifest.versions.get(TOPICS_BY)
    if used != version(TOPICS_BY):
        unknown.append(f"the topics of the prompts: {said} with {TOPICS_BY} {version(TOPICS_BY)}, made with {used}")
        return []
    if other.height <= OTHERWISE * known.height:
        unknown.append(f"the topics of all prompts: {said} on this machine")
        return []
    return [f"topics: {said} than follows from the prompts of iteration 1"]
