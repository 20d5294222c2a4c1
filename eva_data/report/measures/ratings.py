"""Complexity and quality of the prompts of each iteration, rated by one fixed scorer (the paper's table 7)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec

import polars as pl

from eva_data.dataset.records.prompt_scores import read_scores
from eva_data.dataset.store import Store
from eva_data.errors import MissingExtraError

RATING_SUMMARY = pl.Schema(
    {
        "iteration": pl.Int32,
        "scorer": pl.String,
        "prompts": pl.Int64,  # asked about
        **{
            f"{aspect}{figure}": pl.Float64 if figure != "_rated" else pl.Int64
            for aspect in ("complexity", "quality")
            for figure in ("_rated", "", "_error")
        },
    }
)
"""Means and half widths of their 95 % intervals (Student's t). A mean needs one rated prompt, an interval needs two."""


def rating_summary(store: Store, iterations: Sequence[int]) -> pl.DataFrame:
    """RATING_SUMMARY: one row per rated iteration. Prompts that are no longer in the iteration are left out."""
    rated = read_scores(store)
    if rated.is_empty():
        return pl.DataFrame(schema=RATING_SUMMARY)
    there = [store.scan("prompts", iteration).select("iteration", "prompt_id") for iteration in iterations]
    found = rated.lazy().join(pl.concat(there), on=["iteration", "prompt_id"], how="semi").group_by("iteration")
    figures = found.agg(
        pl.col("scorer").first(),
        prompts=pl.len(),
        **{f"{aspect}_rated": pl.col(aspect).count() for aspect in ("complexity", "quality")},
        **{aspect: pl.col(aspect).mean() for aspect in ("complexity", "quality")},
        **{f"{aspect}_error": pl.col(aspect).std() for aspect in ("complexity", "quality")},
    ).collect()
    for aspect in ("complexity", "quality"):
        widths = [
            None if deviation is None else _t(count - 1) * deviation / math.sqrt(count)
            for count, deviation in figures.select(f"{aspect}_rated", f"{aspect}_error").iter_rows()
        ]
        figures = figures.with_columns(pl.Series(f"{aspect}_error", widths, dtype=pl.Float64))
    return figures.select(pl.col(name).cast(dtype) for name, dtype in RATING_SUMMARY.items()).sort("iteration")


def require_scipy() -> None:
    """Raise MissingExtraError without scipy, which knows the quantiles."""
    if find_spec("scipy") is None:
        raise MissingExtraError.of("scipy", "report")


def _t(degrees: int) -> float:
    """The .975 quantile of Student's t."""
    require_scipy()
    from scipy.stats import t

    return float(t.ppf(0.975, degrees))
