"""Finds which texts share a run of words with which others (GPT-3, arXiv 2005.14165)."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.evolve.elimination.word_runs import WORD, WordRuns

SHORTEST = 5
"""Words. People may write a shorter text of a benchmark by chance, so it only matches a text with no other words."""


@dataclass(frozen=True)
class SharedRuns:
    """Runs of words in numbered texts, by which other texts are compared with them."""

    words: int
    long: pl.DataFrame
    """Runs of `words` words. Columns: `run`, `set`."""
    short: pl.DataFrame
    """Whole texts that are shorter. Columns: `run`, `set`, `words`, `units`."""

    @classmethod
    def of(cls, texts: pl.DataFrame, words: int) -> SharedRuns:
        """`texts` has `text`, and `set`, the number by which it is found. Several texts may have the same number."""
        numbered = texts.with_row_index("row")
        runs = WordRuns.of(numbered)
        in_set = numbered.select("row", "set")
        long = runs.long(words * WORD).join(in_set, on="row")
        short = runs.whole().filter(pl.col("units") < words * WORD).join(in_set, on="row")
        return cls(
            words,
            long.select("run", "set").unique(),
            short.select("run", "set", "words", "units").unique(),
        )

    def met_by(self, texts: pl.DataFrame) -> pl.DataFrame:
        """One row per pair that matches: `row` and `set`. `texts` has `row`, ascending, and `text`.

        A text of fewer than `words` words matches a text that holds all its words in a row. A text of fewer than
        SHORTEST words only matches a text of exactly the same words.
        """
        runs = WordRuns.of(texts)
        inside = self.short.filter(pl.col("units") >= SHORTEST * WORD)
        met = [
            runs.long(self.words * WORD).join(self.long, on="run"),
            runs.whole().select("row", "run").join(self.short.select("run", "set"), on="run"),
            *(
                runs.of_length(length).join(inside.filter(words=length).select("run", "set"), on="run")
                for length in inside["words"].unique().sort()
            ),
        ]
        return pl.concat([found.select("row", "set") for found in met]).unique()
