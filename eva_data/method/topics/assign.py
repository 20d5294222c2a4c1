"""The topic of every prompt that `sample` and `mix` look at, by topics that iteration 1 fixes for the whole game.

Topics made anew from each iteration would follow a curriculum that collapses: its one remaining kind of prompts would
be divided into many topics, and no cap would ever be reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from eva_data.method.topics.clusters import topics_of
from eva_data.method.topics.words import Vectors, WordSpace, fit_words, unit
from eva_data.tables.ranges import ranges_for
from eva_data.tables.schemas import TOPICS

FITTED = 20_000
"""Prompts of iteration 1 by which topics are made: those with the lowest ids, which are hashes."""
CHARACTERS = 4_000
"""Of a prompt that are read."""
TOGETHER = 50_000
"""Prompts whose texts and vectors are in memory at once, about."""


@dataclass(frozen=True)
class TopicModel:
    """Topics, and what tells to which of them a prompt belongs."""

    space: WordSpace
    centres: Vectors
    """One row of length at most 1 per topic, the most frequent topic first; no rows if no prompt holds a word."""
    words: tuple[str | None, ...]
    """The words that set each topic apart; None if no word does."""

    def of(self, prompts: pl.DataFrame | pl.LazyFrame, iteration: int) -> pl.DataFrame:
        """TOPICS of prompts (`prompt_id` and `prompt`), one row per distinct id.

        A prompt has the topic whose centre is nearest to it, the one of the lower number of two. `topic` is null if no
        word of the prompt stands in the prompts by which topics were made. A scanned table is read by ranges of ids.
        """
        table = prompts.lazy()
        rows = int(table.select(pl.len()).collect(engine="streaming").item())
        found = pl.concat(self._numbered(part.of(table)) for part in ranges_for(rows, TOGETHER))
        names = pl.DataFrame(
            {"topic": range(1, len(self.words) + 1), "words": self.words},
            schema={"topic": pl.Int32, "words": pl.String},
        )
        named = found.join(names, on="topic", how="left", maintain_order="left")
        return named.with_columns(iteration=pl.lit(iteration, pl.Int32)).select(TOPICS.names())

    def _numbered(self, prompts: pl.LazyFrame) -> pl.DataFrame:
        """`prompt_id` and `topic`, in the order of the ids."""
        read = prompts.select("prompt_id", text=user_text()).collect(engine="streaming")
        texts = read.unique("prompt_id").sort("prompt_id")
        return texts.select("prompt_id", topic=self._numbers(texts["text"].to_list()))

    def _numbers(self, texts: list[str]) -> pl.Series:
        if not texts or not len(self.centres):
            return pl.Series([None] * len(texts), dtype=pl.Int32)
        vectors = unit(self.space.vectors(texts))
        # The squared distance to a centre, without the vector's own length, which is the same for all centres.
        distances = (self.centres**2).sum(axis=1) - 2 * vectors @ self.centres.T
        numbers = pl.Series(distances.argmin(axis=1) + 1, dtype=pl.Int32)
        known = pl.Series(np.linalg.norm(vectors, axis=1) > 0)
        return pl.select(pl.when(known).then(numbers)).to_series()


def fit_topics(first: pl.DataFrame) -> TopicModel:
    """The topics of X_1 (`prompt_id` and `prompt`). Raise MissingExtraError without scikit-learn.

    The order of the rows does not matter, and everything runs in one thread, since sums of several threads differ in
    their last bits from run to run.
    """
    texts = first.sort("prompt_id").head(FITTED).select(user_text()).to_series().to_list()
    space = fit_words(texts)
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(limits=1):
        vectors = unit(space.vectors(texts))
        known = np.linalg.norm(vectors, axis=1) > 0
        if not known.any():
            return TopicModel(space, np.zeros((0, vectors.shape[1])), ())
        held = [text for text, counts in zip(texts, known, strict=True) if counts]
        topics = topics_of(held, vectors[known])
    centres = np.vstack([vectors[known][topics.of == place].mean(axis=0) for place in range(len(topics.labels))])
    return TopicModel(space, centres, tuple(label.partition(": ")[2] or None for label in topics.labels))


def user_text() -> pl.Expr:
    """The user turns of `prompt`, of which the first CHARACTERS are read."""
    turns = pl.col("prompt").list.eval(
        pl.element().filter(pl.element().struct.field("role") == "user").struct.field("content")
    )
    return turns.list.join("\n").str.slice(0, CHARACTERS)
