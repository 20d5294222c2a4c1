"""The informativeness of the prompts: the metric's distribution, iteration by iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.distributions import Axis, axis_of, histogram
from eva_data.report.measures.drawable import drawable
from eva_data.report.numbers import informativeness_summary, measured
from eva_data.report.page.charts import chart
from eva_data.report.page.parts import Chart, Charts, Part, Section, Table, Words
from eva_data.report.pictures import ROLE_COLOURS, ROLES, shares
from eva_data.tables.metrics import column_of, meaning_of
from eva_data.tables.reasons import MAX_DEPTH, NO_CONSENSUS, TOO_EASY, TOO_HARD, UNSOLVED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 12
"""So many distributions are drawn: the first iteration and the last iterations."""

_NUMBER = {"carried": 0, "evolved": 1, "seed": 2}
"""The colours of the page for the kinds of prompts, as `pictures` has them."""


def informativeness(store: Store) -> Section | None:
    """Summary and histograms of the sampling metric by kind of prompt, on one axis for all iterations."""
    iterations = store.iterations()
    metric = store.manifest(iterations[-1]).config["estimate"]["metric"]
    column = column_of(metric)
    summary = informativeness_summary(store, iterations, column)
    if summary.is_empty():
        return None
    rows = tuple(
        (
            *(f"{row['iteration']}", ROLES.get(row["mix_role"], row["mix_role"] or ""), row["count"]),
            *(row[name] for name in ("mean", "q25", "median", "q75")),
        )
        for row in summary.to_dicts()
    )
    names = ("iteration", "prompts", "measured", "mean", "lower quartile", "median", "upper quartile")
    shown = iterations if len(iterations) <= MOST else [iterations[0], *iterations[1 - MOST :]]
    values = {iteration: measured(store, iteration).select("mix_role", column) for iteration in shown}
    axis = axis_of(pl.concat(list(values.values())), column, 25)
    lead = (
        f"Prompts are drawn by {metric} ({meaning_of(metric)}): where it is high, the solver's answers differ in "
        "reward and there is something to learn; at 0 all answers are equally good or bad."
    )
    tables = (Table(names, rows), *_barred(store, iterations))
    if axis is None:
        return Section("informativeness", "Informativeness", lead, (*tables, Words("No value is finite.", soft=True)))
    charts = tuple(_distribution(iteration, frame, column, metric, axis) for iteration, frame in values.items())
    roles = [role for role in _NUMBER if role in summary["mix_role"].to_list()]
    legend = tuple((ROLES[role], _NUMBER[role]) for role in roles)
    return Section("informativeness", "Informativeness", lead, (Charts(charts, legend), *tables))


def _barred(store: Store, iterations: Sequence[int]) -> tuple[Part, ...]:
    """How many prompts could not be drawn, by reason; nothing if none was estimated."""
    found = drawable(store, iterations)
    if found.is_empty():
        return ()
    names = {
        UNSOLVED: "unsolved",
        NO_CONSENSUS: "no consensus",
        TOO_EASY: "too easy",
        TOO_HARD: "too hard",
        MAX_DEPTH: "too deep",
    }
    table = Table(
        ("iteration", "prompts looked at", "drawn", *names.values()),
        tuple(
            (f"{row['iteration']}", row["prompts"], row["drawn"], *(_with_share(row, reason) for reason in names))
            for row in found.to_dicts()
        ),
    )
    said = [
        Words(f"Iteration {iteration}: {note}.")
        for iteration in iterations
        for note in store.manifest(iteration).notes
        if "`sample.band`" in note or "`sample.agreement_band`" in note
    ]
    return Words("Prompts that could not be drawn, or online be evolved, and why:"), table, *said


def _with_share(row: Mapping[str, int], reason: str) -> str:
    return f"{row[reason]:,} ({row[reason] / row['prompts']:.0%})"


def _distribution(iteration: int, frame: pl.LazyFrame, column: str, metric: str, axis: Axis) -> Chart:
    counts = histogram(frame, column, "mix_role", axis)
    mean = frame.select(pl.col(column).filter(pl.col(column).is_finite()).mean()).collect().item()
    caption = f"Iteration {iteration}: mean {'none' if mean is None else format(mean, '.3g')}"
    return chart(f"informativeness_{iteration}", caption, partial(_draw, counts=counts, axis=axis))


def _draw(axes: Axes, counts: pl.DataFrame, axis: Axis) -> None:
    for role, colour in ROLE_COLOURS.items():
        shares(axes, counts.filter(pl.col("mix_role") == role), axis, colour, fill=role != "evolved")
    axes.set_xlim(axis.low, axis.high)
    axes.set_ylabel("share of its kind")
