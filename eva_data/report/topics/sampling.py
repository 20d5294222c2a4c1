"""The prompts for the topics: a bounded sample of each iteration, each prompt once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from eva_data.dataset.store import Store
from eva_data.method.topics.assign import user_text
from eva_data.tables.ranges import id_ranges

SAMPLED = 20_000
"""The size of the sample over all iterations."""

PROMPT_SAMPLE = pl.Schema({"iteration": pl.Int32, "prompt_id": pl.String, "root_id": pl.String, "text": pl.String})


def prompt_sample(store: Store, iterations: Sequence[int], most: int = SAMPLED) -> pl.DataFrame:
    """PROMPT_SAMPLE: the user turns of about `most` prompts, equally many per iteration, by iteration and id.

    Ids are hashes, so a range of ids is a uniform sample. It is always the same sample.
    """
    share = max(most // max(len(iterations), 1), 1)
    found = []
    for iteration in iterations:
        prompts = store.scan("prompts", iteration)
        height = prompts.select(pl.len()).collect(engine="streaming").item()
        part = id_ranges(math.ceil(height / share) or 1)[0]
        text = user_text().alias("text")
        rows = part.of(prompts).select("iteration", "prompt_id", "root_id", text).sort("prompt_id")
        found.append(rows.collect(engine="streaming"))
    return pl.concat([pl.DataFrame(schema=PROMPT_SAMPLE), *found])
