"""The style of responses in numbers: length, headers, bold, lists, and the differences for style control.

This follows Chatbot Arena and Arena-Hard (Li, Angelopoulos and Chiang 2024, "Does style matter?"): every feature enters
the Bradley-Terry model as its normalised difference (a - b) / (a + b), standardised over the verdicts.
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
    """One row per verdict, one column per feature: (a - b) / (a + b), or 0 if both are 0, then standardised.

    The differences are divided by their deviation and not centred, so that 0 still means *the same style*. A column
    without spread stays 0.
    """
    one = pl.DataFrame({"text": first}).select(features(pl.col("text")))
    other = pl.DataFrame({"text": second}).select(features(pl.col("text")))
    columns = []
    for name in FEATURES:
        both = pl.DataFrame({"a": one[name], "b": other[name]})
        total = pl.col("a") + pl.col("b")
        normalised = pl.when(total > 0).then((pl.col("a") - pl.col("b")) / total).otherwise(0.0)
        spread = normalised.std()
        columns.append(both.select(pl.when(spread > 0).then(normalised / spread).otherwise(0.0).alias(name)))
    return pl.concat(columns, how="horizontal").to_numpy()
