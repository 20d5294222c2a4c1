"""The style of responses in numbers: length, headers, bold, lists, and the differences for style control.

This follows Arena-Hard v0.1 (lmarena/arena-hard-auto at 0489bf3, `utils_math.py`, after Li, Angelopoulos and Chiang
2024, "Does style matter?"): every feature enters the Bradley-Terry model as its normalised difference
(a - b) / (a + b + 1), standardised over the verdicts. The length is in tokens there and in characters here.
"""

from __future__ import annotations

import polars as pl

from eva_data.statistics.interval import Floats

FEATURES = ("length", "headers", "bold", "lists")


def features(text: pl.Expr) -> list[pl.Expr]:
    """The features of a markdown text: its characters, headers, bold spans, and items of lists."""
    plain = text.str.replace_all(r"(?s)```.*?```", "")
    return [
        text.str.len_chars().cast(pl.Float64).alias("length"),
        plain.str.count_matches(r"(?m)^ {0,3}#{1,6}\s").cast(pl.Float64).alias("headers"),
        plain.str.count_matches(r"\*\*[^*\n]+\*\*|__[^_\n]+__").cast(pl.Float64).alias("bold"),
        plain.str.count_matches(r"(?m)^\s*(?:[-*+]|\d+[.)])\s+\S").cast(pl.Float64).alias("lists"),
    ]


def differences(first: pl.Series, second: pl.Series) -> Floats:
    """One row per verdict, one column per feature: (a - b) / (a + b + 1), then standardised.

    The differences are divided by their deviation and not centred, as in the source. With one side and the baseline
    alone, the centre is the style of that side, and a model at the centre would hold nothing constant. So 0 still means
    *the same style*. A column without spread stays 0.
    """
    one = pl.DataFrame({"text": first}).select(features(pl.col("text")))
    other = pl.DataFrame({"text": second}).select(features(pl.col("text")))
    columns = []
    for name in FEATURES:
        both = pl.DataFrame({"a": one[name], "b": other[name]})
        normalised = (pl.col("a") - pl.col("b")) / (pl.col("a") + pl.col("b") + 1)
        spread = normalised.std()
        columns.append(both.select(pl.when(spread > 0).then(normalised / spread).otherwise(0.0).alias(name)))
    return pl.concat(columns, how="horizontal").to_numpy()
