"""The nearest neighbours of evaluated texts among training texts, by the cosine of their vectors.

A neighbour counts for what stands out: the cosine to the nearest text, less the mean cosine to the next texts. Problems
of one kind are all alike, so a high cosine alone says little; a text and its paraphrase are much closer to each other
than to anything else (the margin of Artetxe and Schwenk 2019, arXiv 1811.01136, as a difference). Texts that grew out
of the same seed are one text here, since a seed's descendants resemble it and would hide it.

Training texts come in parts. Of each part only the nearest lineages of each evaluated text are kept, which gives the
same result as all parts together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

NEXT = 10
"""The next lineages whose mean cosine is taken off."""

_CELLS = 8_000_000
"""Cosines that are in memory at once."""

Rows: TypeAlias = Any
"""A dense array or a SciPy sparse matrix with a row of length 1, or of zeros, for each text."""

NEAREST = pl.Schema({"row": pl.UInt32, "nearest": pl.String, "score": pl.Float64, "margin": pl.Float64})
"""One row per evaluated text that has a neighbour, ordered by `row`."""


@dataclass
class Neighbours:
    """The nearest lineages of each evaluated text among the training texts seen so far."""

    vectors: Rows
    """Of the evaluated texts."""
    found: pl.DataFrame = field(
        default_factory=lambda: pl.DataFrame(
            schema={"row": pl.UInt32, "root": pl.String, "nearest": pl.String, "score": pl.Float64}
        )
    )

    def see(self, vectors: Rows, ids: pl.Series, roots: pl.Series) -> None:
        """Take in training texts with their vectors, ids and lineages, all in the same order."""
        if not len(ids):
            return
        order = roots.arg_sort()
        names, sorted_ids = roots.gather(order), ids.gather(order)
        vectors = vectors[order.to_numpy()]
        starts = np.flatnonzero(np.r_[True, (names != names.shift(1)).to_numpy()[1:]])
        step = max(1, _CELLS // len(ids))
        parts = [self.found]
        for first in range(0, self.vectors.shape[0], step):
            cosines = self.vectors[first : first + step] @ vectors.T
            cosines = np.asarray(cosines.toarray() if hasattr(cosines, "toarray") else cosines)
            parts.append(_best(cosines, starts, first, names, sorted_ids))
        every = pl.concat(parts).sort("row", "score", "nearest", descending=[False, True, False])
        self.found = (
            every.unique(["row", "root"], keep="first", maintain_order=True)
            .group_by("row", maintain_order=True)
            .head(NEXT + 1)
        )

    def nearest(self) -> pl.DataFrame:
        """NEAREST. The margin of a text with one neighbour is its cosine."""
        ranked = self.found.sort("row", "score", "nearest", descending=[False, True, False])
        others = pl.col("score").slice(1).mean().fill_null(0.0)
        return (
            ranked.group_by("row", maintain_order=True)
            .agg(pl.col("nearest").first(), pl.col("score").first(), margin=pl.col("score").first() - others)
            .cast(dict(NEAREST))  # type: ignore[arg-type]
        )


def _best(
    cosines: NDArray[Any], starts: NDArray[np.int64], first: int, roots: pl.Series, ids: pl.Series
) -> pl.DataFrame:
    """The nearest text of each of the nearest lineages, for each row of `cosines`, whose columns are by lineage."""
    of_lineage = np.maximum.reduceat(cosines, starts, axis=1)
    kept = min(NEXT + 1, len(starts))
    lineages = np.argpartition(-of_lineage, kept - 1, axis=1)[:, :kept]
    rows = np.repeat(np.arange(len(cosines)), kept)
    chosen = lineages.ravel()
    scores = of_lineage[rows, chosen]
    # Of a lineage's texts the first one that has its cosine.
    sizes = np.diff(np.r_[starts, cosines.shape[1]])[chosen]
    begins = np.cumsum(sizes) - sizes
    columns = np.arange(sizes.sum()) + np.repeat(starts[chosen] - begins, sizes)
    same = cosines[np.repeat(rows, sizes), columns] == np.repeat(scores, sizes)
    places = np.minimum.reduceat(np.where(same, columns, cosines.shape[1]), begins)
    return pl.DataFrame(
        {
            "row": pl.Series(rows + first, dtype=pl.UInt32),
            "root": roots.gather(starts[chosen]),
            "nearest": ids.gather(places),
            "score": pl.Series(scores, dtype=pl.Float64),
        }
    )
