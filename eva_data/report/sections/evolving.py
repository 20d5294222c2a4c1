"""The yield of evolving: strategies, depths, and the reasons of failed attempts and prompts."""

from __future__ import annotations

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.numbers import rejects_by_reason
from eva_data.report.page.parts import Cell, Section, Share, Stack, Table
from eva_data.report.sections.yields import depths, strategies
from eva_data.tables.metrics import column_of
from eva_data.tables.reasons import PAGE, explained

DEEPEST = 8
"""So many depths have bars of their own. Deeper prompts are counted together."""


def by_strategy(store: Store) -> Section | None:
    """The outcomes of each strategy's attempts, and how informative its prompts are."""
    iterations, metric = store.iterations(), _metric(store)
    found = strategies(store, iterations, column_of(metric))
    if found.is_empty():
        return None
    columns = ("iteration", "strategy", "attempts", "eliminated", "lost", "in the iteration", "", f"mean {metric}")
    rows = tuple(
        (
            *(f"{row['iteration']}", row["mutation"], row["attempts"], row["eliminated"], row["lost"], row["mixed"]),
            *(Share(row["mixed"] / row["attempts"]), row["mean"], row["pairs"]),
        )
        for row in found.to_dicts()
    )
    lead = (
        "A strategy is what the creator was asked to do with a prompt. Lost are candidates that a better one of the "
        "same step beat; the bar is the share of the attempts that became prompts of the iteration."
    )
    return Section("strategies", "Strategies and their yields", lead, (Table((*columns, "pairs"), rows),))


def by_depth(store: Store) -> Section | None:
    """The depths of the prompts of each iteration, and the yield of each depth."""
    iterations, metric = store.iterations(), _metric(store)
    found = depths(store, iterations, column_of(metric)).filter(pl.col("depth").is_not_null())
    if found.is_empty():
        return None
    deep = found.with_columns(pl.col("depth").clip(upper_bound=DEEPEST)).group_by("iteration", "depth")
    whole = {(row[0], row[1]): row[2] for row in deep.agg(pl.col("prompts").sum()).iter_rows()}
    levels = sorted({depth for _, depth in whole})
    bars = []
    for iteration in iterations:
        prompts = [whole.get((iteration, level), 0) for level in levels]
        if sum(prompts):
            bars.append((f"iteration {iteration}", tuple(count / sum(prompts) for count in prompts)))
    names = tuple(f"depth {level}{' and more' if level == DEEPEST else ''}" for level in levels)
    rows = tuple(
        (f"{row['iteration']}", row["depth"], row["prompts"], row["mean"], row["pairs"]) for row in found.to_dicts()
    )
    lead = "Depth is how many rewrites lie between a prompt and its seed; a seed has depth 0."
    table = Table(("iteration", "depth", "prompts", f"mean {metric}", "pairs"), rows)
    return Section("depth", "Depth", lead, (Stack(names, tuple(bars)), table))


def rejected(store: Store) -> Section | None:
    """Every reason with an explanation, and its count in each iteration."""
    iterations = store.iterations()
    found = rejects_by_reason(store, iterations)
    if found.is_empty():
        return None
    counts: dict[tuple[str, str], dict[int, int]] = {}
    for stage, reason, iteration, rows in found.iter_rows():
        counts.setdefault((stage, reason or "unknown"), {})[iteration] = rows
    columns = ("stage", "reason", "what it means", *(f"iteration {iteration}" for iteration in iterations))
    table: list[tuple[Cell, ...]] = [
        (stage, reason, " ".join(explained(reason)), *(of.get(iteration, 0) for iteration in iterations))
        for (stage, reason), of in counts.items()
    ]
    lead = (
        "Nothing is dropped in silence: each failure is a row of `rejects`, or an eliminated one of `evolutions`. "
        f"`eva-data explain` and {PAGE} list all reasons."
    )
    return Section("rejects", "Rejected, by reason", lead, (Table(columns, tuple(table)),))


def _metric(store: Store) -> str:
    return str(store.manifest(store.iterations()[-1]).config["estimate"]["metric"])
