"""Turns texts into hashed runs of words, by which common runs of two texts are found, in every script.

Scripts without spaces show no words. There a letter counts as a part of a word, by the mean length of words in its
script: thirteen words are a sentence of about twenty Chinese characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import polars as pl
import polars_hash as plh

from eva_data.evolve.elimination.ngrams import WORDS
from eva_data.tables.ids import normalise

WORD = 80
"""Number of units of a word."""
_LETTERS = {
    r"^\p{Han}$": 50,  # 1.6 characters to a word
    r"^[\p{Hiragana}\p{Katakana}]$": 40,
    r"^[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]$": 20,  # vowel signs are characters of their own
}
"""Pattern -> number of units of a letter, for scripts without spaces."""

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse

Integers: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass(frozen=True)
class WordRuns:
    """The words of texts, one after the other, case folded and without punctuation."""

    row: Integers
    """The text of each word, ascending."""
    word: Integers
    """The 64-bit hash of each word."""
    units: Integers

    @classmethod
    def of(cls, texts: pl.DataFrame) -> WordRuns:
        """The words of `texts`, a frame with `row`, ascending, and `text`."""
        lowered = normalise(pl.col("text")).str.to_lowercase()
        words = (
            texts.lazy()
            .select("row", word=lowered.str.extract_all(WORDS))
            .explode("word")
            .drop_nulls("word")
            .select(
                pl.col("row").cast(pl.UInt32),
                word=plh.NonCryptographicHashingNameSpace(pl.col("word")).xxhash64(),
                units=pl.coalesce(
                    *(pl.when(pl.col("word").str.contains(script)).then(units) for script, units in _LETTERS.items()),
                    pl.lit(WORD),
                ).cast(pl.Int64),
            )
            .collect()
        )
        return cls(*(words[name].to_numpy() for name in ("row", "word", "units")))

    def long(self, units: int) -> pl.DataFrame:
        """The shortest run of at least `units` units that begins at each word, if its text is long enough."""
        total = np.cumsum(self.units)
        return self._runs(np.searchsorted(total, total - self.units + units))

    def of_length(self, words: int) -> pl.DataFrame:
        """The run of exactly `words` words that begins at each word, if its text is long enough."""
        return self._runs(np.arange(len(self.row)) + words - 1)

    def whole(self) -> pl.DataFrame:
        """Every text as one run: `row`, `run`, and its `words` and `units`."""
        first = np.flatnonzero(np.diff(self.row, prepend=np.int64(-1)))
        last = self._end[first] - 1
        units = np.cumsum(self.units)
        return self._frame(first, last).with_columns(
            words=pl.Series(last - first + 1, dtype=pl.Int64),
            units=pl.Series(units[last] - units[first] + self.units[first], dtype=pl.Int64),
        )

    @cached_property
    def _end(self) -> Integers:
        """The place after the last word of each word's text."""
        return np.searchsorted(self.row, self.row, side="right")

    @cached_property
    def _sums(self) -> tuple[Integers, Integers]:
        """For each place, the hash of all words before it, and the factor that takes the place out of differences."""
        powers, inverses = (_powers(base, len(self.row)) for base in (_BASE, pow(_BASE, -1, 2**64)))
        summed = np.concatenate([np.zeros(1, np.uint64), np.cumsum(self.word * powers[:-1], dtype=np.uint64)])
        return summed, inverses

    def _runs(self, last: Integers) -> pl.DataFrame:
        first = np.flatnonzero(last < self._end)
        return self._frame(first, last[first])

    def _frame(self, first: Integers, last: Integers) -> pl.DataFrame:
        """`row` and `run`, a hash of the words from `first` to `last` that does not depend on their place."""
        summed, inverses = self._sums
        return pl.DataFrame({"row": self.row[first], "run": (summed[last + 1] - summed[first]) * inverses[first]})


def _powers(base: int, count: int) -> Integers:
    """The powers of a base from 0 to `count`, modulo 2^64."""
    factors = np.full(count + 1, base, np.uint64)
    factors[0] = 1
    return np.multiply.accumulate(factors)
