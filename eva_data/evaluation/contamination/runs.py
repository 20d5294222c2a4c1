"""Pairs of texts that share many words in a row, or that are the same but for their numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from eva_data.evolve.elimination.ngrams import TOKENS, ngram_hashes
from eva_data.evolve.elimination.shared_runs import SharedRuns

COMMON = 10
"""Texts of a set that may share a run of words. A run in more of them is the set's own frame, and tells nothing."""

NUMBER = "¤"
"""What stands for every number. It is a token by itself."""

SHINGLE = 3
"""Tokens per shingle, as for near-duplicates."""

_NUMBER = (
    r"(?i)\d+(?:[.,:/]\d+)*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|"
    r"fifteen|sixteen|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|"
    r"thousand|million|half|third|quarter|twice|double|triple|dozen)\b"
)


@dataclass(frozen=True)
class WordIndex:
    """The runs of words of evaluated texts."""

    runs: SharedRuns

    @classmethod
    def of(cls, texts: pl.DataFrame, words: int) -> WordIndex:
        """`texts` has `row`, `part` and `text`. A run counts as common among the texts of one part."""
        found = SharedRuns.of(texts.select("text", set=pl.col("row")), words)
        parts = texts.select("part", set=pl.col("row"))
        rare = found.long.join(parts, on="set").filter(pl.len().over("run", "part") <= COMMON)
        return cls(replace(found, long=rare.select("run", "set")))

    def pairs(self, training: pl.DataFrame) -> pl.DataFrame:
        """One row per pair that shares a run: `row`, `other` and `score`, 1. `training` has `other` and `text`."""
        found = self.runs.met_by(training.select(row=pl.col("other"), text=pl.col("text")))
        return found.select(row=pl.col("set"), other=pl.col("row"), score=pl.lit(1.0))


@dataclass(frozen=True)
class NumberIndex:
    """The shingles of evaluated texts without their numbers.

    Two texts whose sets of shingles have a Jaccard similarity of at least t share at least t |A| of A's shingles. So
    a text B that is that similar to A holds at least one of any (1 - t) |A| + 1 shingles of A, and only A's rarest
    shingles are looked up (prefix filter: Chaudhuri et al. 2006).
    """

    least: float
    shingles: pl.DataFrame
    """`row`, `ngram`, and the number of the row's shingles, `size`; texts without a number have none."""
    rarest: pl.DataFrame
    """`row` and `ngram` of those that are looked up."""

    @classmethod
    def of(cls, texts: pl.DataFrame, least: float) -> NumberIndex:
        """`texts` has `row`, ascending, and `text`."""
        shingles = _shingles(texts).with_columns(size=pl.len().over("row"))
        found_in = pl.len().over("ngram")
        rank = pl.struct(found_in, "ngram").rank("ordinal").over("row")
        rarest = shingles.filter(rank <= ((1 - least) * pl.col("size")).floor() + 1).select("row", "ngram")
        return cls(least, shingles, rarest)

    def pairs(self, training: pl.DataFrame) -> pl.DataFrame:
        """One row per pair that is the same but for its numbers: `row`, `other` and `score`, the Jaccard similarity.

        `training` has `other`, ascending, and `text`.
        """
        others = _shingles(training.select(row=pl.col("other"), text=pl.col("text"))).rename({"row": "other"})
        others = others.with_columns(other_size=pl.len().over("other"))
        near = others.join(self.rarest, on="ngram").select("row", "other").unique()
        shared = (
            near.join(self.shingles, on="row")
            .join(others, on=["other", "ngram"])
            .group_by("row", "other")
            .agg(shared=pl.len(), size=pl.col("size").first(), other_size=pl.col("other_size").first())
        )
        score = pl.col("shared") / (pl.col("size") + pl.col("other_size") - pl.col("shared"))
        return shared.select("row", "other", score=score).filter(pl.col("score") >= self.least)


def without_numbers(text: pl.Expr) -> pl.Expr:
    """The text with a sign in the place of every number, in digits or in English words."""
    return text.str.replace_all(_NUMBER, f" {NUMBER} ")


def _shingles(texts: pl.DataFrame) -> pl.DataFrame:
    """The distinct shingles of the texts that hold a number: `row` and `ngram`."""
    masked = (
        texts.lazy().select("row", text=without_numbers(pl.col("text"))).filter(pl.col("text").str.contains(NUMBER))
    )
    return ngram_hashes(masked, n=SHINGLE, tokens=TOKENS).unique().collect()
