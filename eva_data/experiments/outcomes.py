"""Reads what the arms of a sweep came to: the score of every evaluated prompt, and what every iteration made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.experiments.arms import Play
from eva_data.experiments.design import Design

SCORES = pl.Schema(
    {
        "arm": pl.String,
        "seed": pl.Int32,
        "theta": pl.Int32,
        "category": pl.String,
        "prompt_id": pl.String,
        "score": pl.Float64,  # mean over the samples of a prompt; null where no score is known
    }
)
"""One row per (arm, seed, theta, prompt) of the outcome's set."""

MADE = pl.Schema(
    {
        "arm": pl.String,
        "seed": pl.Int32,
        "iteration": pl.Int32,
        "prompts": pl.Int64,
        "evolved": pl.Int64,
        "pairs": pl.Int64,
        "mean_depth": pl.Float64,
    }
)
"""One row per (arm, seed, iteration): prompts of X_t, those that were evolved, pairs, and mean number of rewrites."""


def scores_of(design: Design, folder: Path, plays: Sequence[Play]) -> pl.DataFrame:
    """SCORES of theta_0 and the last theta of the plays that are evaluated."""
    return pl.concat([pl.DataFrame(schema=SCORES), *(_scores(design, folder, play) for play in plays)])


def _scores(design: Design, folder: Path, play: Play) -> pl.DataFrame:
    store = Store(play.folder(folder))
    record = read_record(store)
    if record is None:
        return pl.DataFrame(schema=SCORES)
    wanted = [
        each.key
        for each in record.evaluations
        if each.set == design.primary.set and each.theta in (0, design.iterations) and each.partial is None
    ]
    rows = read_rows(store, record).filter(pl.col("evaluation").is_in(wanted))
    return (
        rows.group_by("iteration", "category", "prompt_id")
        .agg(pl.when(pl.col("score").is_not_null().all()).then(pl.col("score").mean()).first().alias("score"))
        .select(
            arm=pl.lit(play.arm),
            seed=pl.lit(play.seed, dtype=pl.Int32),
            theta=pl.col("iteration"),
            category="category",
            prompt_id="prompt_id",
            score="score",
        )
        .sort("theta", "prompt_id")
        .cast(dict(SCORES))  # type: ignore[arg-type]
    )


def made_of(folder: Path, plays: Sequence[Play]) -> pl.DataFrame:
    """MADE of every iteration that the plays have finished."""
    return pl.concat([pl.DataFrame(schema=MADE), *(_made(folder, play) for play in plays)])


def _made(folder: Path, play: Play) -> pl.DataFrame:
    store = Store(play.folder(folder))
    found = []
    for iteration in store.iterations():
        pairs = store.scan("preferences", iteration).select(pairs=pl.len().cast(pl.Int64))
        found.append(
            store.scan("prompts", iteration)
            .select(
                prompts=pl.len().cast(pl.Int64),
                evolved=(pl.col("origin") == "evolved").sum().cast(pl.Int64),
                mean_depth=pl.col("depth").mean(),
            )
            .join(pairs, how="cross")
            .select(
                arm=pl.lit(play.arm),
                seed=pl.lit(play.seed, dtype=pl.Int32),
                iteration=pl.lit(iteration, dtype=pl.Int32),
                prompts="prompts",
                evolved="evolved",
                pairs="pairs",
                mean_depth="mean_depth",
            )
            .collect()
        )
    return pl.concat([pl.DataFrame(schema=MADE), *found])


def primary(design: Design, scores: pl.DataFrame, theta: int) -> pl.DataFrame:
    """One row per (arm, seed): `value`, the mean score of theta on the outcome's prompts, in the units of the score.

    A play with a prompt of unknown score has no row.
    """
    chosen = scores.filter(pl.col("theta") == theta)
    if design.primary.category is not None:
        chosen = chosen.filter(pl.col("category") == design.primary.category)
    return (
        chosen.group_by("arm", "seed")
        .agg(value=pl.col("score").mean(), prompts=pl.len(), unknown=pl.col("score").is_null().sum())
        .filter(pl.col("unknown") == 0)
        .drop("unknown")
        .sort("arm", "seed")
    )
