"""Turns texts into sets of hashed n-grams, by which prompts are compared."""

from __future__ import annotations

import operator
from functools import reduce

import polars as pl
import polars_hash as plh

from eva_data.tables.ids import normalise

# In scripts without spaces, a letter counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
WORDS = rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+"
"""Runs of letters and digits; punctuation and symbols are skipped."""
TOKENS = rf"{WORDS}|\S"
"""Words, and every other visible character by itself, because 3 + 4 is not 3 - 4."""

_BASE = 0x9E3779B97F4A7C15  # odd, so that multiplying by its powers loses no bit


def ngram_hashes(texts: pl.LazyFrame, *, n: int, tokens: str) -> pl.LazyFrame:
    """The n-grams of each text, case folded: one row per occurrence, with `row` and `ngram` (64 bits).

    `texts` has `row`, ascending, and `text`. A text of fewer than `n` tokens has one n-gram, the whole text, which
    equals no n-gram of another length. A text without tokens has none.
    """
    lowered = normalise(pl.col("text")).str.to_lowercase()
    words = texts.select("row", token=lowered.str.extract_all(tokens)).explode("token").drop_nulls("token")
    token, row = plh.NonCryptographicHashingNameSpace(pl.col("token")).xxhash64(), pl.col("row")
    terms = [
        pl.when(row.shift(-i) == row)
        .then(pl.col("token").shift(-i) * pl.lit(pow(_BASE, i, 2**64), pl.UInt64))
        .otherwise(pl.lit(0, pl.UInt64))
        for i in range(1, n)
    ]
    starts = (row.shift(1) != row).fill_null(True)
    whole = (row.shift(1 - n) == row).fill_null(False)
    return (
        words.select("row", token=token)
        .select("row", ngram=reduce(operator.add, terms, pl.col("token")), keep=starts | whole)
        .filter("keep")
        .drop("keep")
    )
