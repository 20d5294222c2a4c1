"""Complexity and quality of the prompts, rated by one scorer for all iterations (the paper's table 7)."""

from __future__ import annotations

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.measures.ratings import rating_summary
from eva_data.report.page.charts import Point, lines
from eva_data.report.page.parts import Charts, Figure, Section, Table


def ratings(store: Store) -> Section | None:
    """Means with 95 % intervals. None if `eva-data score` was never run."""
    found = rating_summary(store, store.iterations())
    if found.is_empty():
        return None
    charts = tuple(
        lines(aspect, f"{aspect}, from 1 to 5, with 95 % intervals", {aspect: _points(found, aspect)}, y="")
        for aspect in ("complexity", "quality")
        if found[aspect].count()
    )
    rows = tuple(
        (f"{row['iteration']}", row["scorer"], row["prompts"], _figure(row, "complexity"), _figure(row, "quality"))
        for row in found.to_dicts()
    )
    lead = "A sample of each iteration, rated prompt by prompt by one model for all iterations."
    table = Table(("iteration", "scorer", "prompts asked about", "complexity", "quality"), rows)
    return Section("ratings", "Complexity and quality", lead, (*([Charts(charts)] if charts else []), table))


def _points(found: pl.DataFrame, aspect: str) -> list[Point]:
    rows = found.filter(pl.col(aspect).is_not_null()).select("iteration", aspect, f"{aspect}_error").iter_rows()
    return [
        (iteration, mean, None if half is None else mean - half, None if half is None else mean + half)
        for iteration, mean, half in rows
    ]


def _figure(row: dict[str, float | None], aspect: str) -> Figure | None:
    mean, half, count = (row[f"{aspect}{figure}"] for figure in ("", "_error", "_rated"))
    if mean is None:
        return None
    return Figure(f"{mean:z.2f}{'' if half is None else f' ± {half:z.2f}'} (n {count:,})")
