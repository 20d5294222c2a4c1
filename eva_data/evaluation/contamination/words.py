"""Vectors of texts by the words in them, for the case that no embedding model is there.

The features are words, and runs of four characters within words, which forms of a word and cognates share. Each is
weighted by TF-IDF with a sublinear count. Texts that say the same in other words have little in common here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import polars_hash as plh
from numpy.typing import NDArray

from eva_data.evolve.elimination.ngrams import WORDS
from eva_data.tables.ids import normalise

BUCKETS = 1 << 20
"""Features are hashed into so many columns."""
CHARACTERS = 4

Sparse: TypeAlias = Any
"""A SciPy matrix in rows: one row of length 1, or of zeros, for each text."""


@dataclass
class WordWeights:
    """In how many texts each feature occurs."""

    texts: int
    counts: NDArray[np.int64]

    @classmethod
    def none(cls) -> WordWeights:
        return cls(0, np.zeros(BUCKETS, np.int64))

    def see(self, texts: pl.Series) -> None:
        """Count the features of further texts."""
        features = _features(texts)
        self.texts += len(texts)
        self.counts += np.bincount(features["feature"].to_numpy(), minlength=BUCKETS)

    def vectors(self, texts: pl.Series) -> Sparse:
        """The rows of some texts."""
        from scipy.sparse import csr_array

        features = _features(texts)
        column = features["feature"].to_numpy()
        rare = np.log((1 + self.texts) / (1 + self.counts[column])) + 1
        weight = (1 + np.log(features["count"].to_numpy())) * rare
        row = features["row"].to_numpy()
        length = np.sqrt(np.bincount(row, weight**2, minlength=len(texts)))
        values = (weight / length[row]).astype(np.float32)
        return csr_array((values, (row, column)), shape=(len(texts), BUCKETS))


def _features(texts: pl.Series) -> pl.DataFrame:
    """One row per text and feature: `row`, `feature` and `count`."""
    words = (
        pl.LazyFrame({"text": texts})
        .with_row_index("row")
        .select("row", word=normalise(pl.col("text")).str.to_lowercase().str.extract_all(WORDS))
        .explode("word")
        .drop_nulls()
        .group_by("row", "word")
        .agg(count=pl.len())
    )
    inner = words.filter(pl.col("word").str.len_chars() > CHARACTERS)
    places = pl.int_ranges(0, pl.col("word").str.len_chars() - CHARACTERS + 1)
    pieces = inner.with_columns(place=places).explode("place")
    # The sign at the end sets a piece apart from a word.
    parts = pieces.select("row", feature=pl.col("word").str.slice("place", CHARACTERS) + "·", count="count")
    features = pl.concat([words.select("row", feature="word", count="count"), parts])
    bucket = plh.NonCryptographicHashingNameSpace(pl.col("feature")).xxhash64() % BUCKETS
    return features.group_by("row", feature=bucket).agg(pl.col("count").sum()).sort("row", "feature").collect()
