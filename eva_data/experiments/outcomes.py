"""Reads what the arms of a sweep came to: the score of every evaluated prompt, and what every iteration made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.experiments.arms import Play
from eva_data.experiments.design import Design, Measure
from eva_data.report.topics.subjects import subjects

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
    """SCORES of theta_0 and the last theta of the plays that are evaluated. None are, if another measure decides."""
    return pl.concat([pl.DataFrame(schema=SCORES), *(_scores(design, folder, play) for play in plays)])


def _scores(design: Design, folder: Path, play: Play) -> pl.DataFrame:
    store = Store(play.dataset(design, folder))
    record = read_record(store) if design.primary.measure == "score" else None
    if record is None:
        return pl.DataFrame(schema=SCORES)
    wanted = [
        each.key
        for each in record.evaluations
        if each.set == design.primary.set and each.theta in (0, design.last_theta(play.arm)) and each.partial is None
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


def made_of(design: Design, folder: Path, plays: Sequence[Play]) -> pl.DataFrame:
    """MADE of every iteration that the plays have finished."""
    return pl.concat([pl.DataFrame(schema=MADE), *(_made(design, folder, play) for play in plays)])


def _made(design: Design, folder: Path, play: Play) -> pl.DataFrame:
    store = Store(play.dataset(design, folder))
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


OUTCOMES = pl.Schema({"arm": pl.String, "seed": pl.Int32, "value": pl.Float64, "prompts": pl.UInt32})
"""One row per (arm, seed): the outcome, and of how many prompts it is."""


def outcomes_of(
    design: Design, folder: Path, plays: Sequence[Play], scores: pl.DataFrame, *, at_start: bool = False
) -> pl.DataFrame:
    """OUTCOMES of the plays: by `scores` (SCORES), or by the prompts of the last iteration.

    `at_start` takes theta_0, or the prompts of iteration 1. A play whose outcome is unknown has no row.
    """
    if design.primary.measure == "score":
        return scored(design, scores, at_start=at_start)
    found = [pl.DataFrame(schema=OUTCOMES)]
    for play in plays:
        store, iteration = Store(play.folder(folder)), 1 if at_start else design.last_theta(play.arm)
        if iteration in store.iterations():
            value, prompts = measured(store, iteration, design.primary.measure)
            row = {"arm": play.arm, "seed": play.seed, "value": value, "prompts": prompts}
            found.append(pl.DataFrame([row], schema=OUTCOMES))
    return pl.concat(found).drop_nulls("value").sort("arm", "seed")


def measured(store: Store, iteration: int, measure: Measure) -> tuple[float | None, int]:
    """A measure of the prompts of an iteration, and their number. The measure is None if no prompt has it."""
    if measure == "diversity":
        found = subjects(store, [iteration])
        return (found.diversity[0].nearest, found.diversity[0].prompts) if found else (None, 0)
    rows = store.scan("informativeness", iteration).filter(pl.col("stage") == "respond")
    value = pl.col("a_avg" if measure == "regret" else "reward_mean").mean()
    if measure == "unpaired":
        pairs = store.scan("preferences", iteration).select("prompt_id", paired=pl.lit(True)).unique()
        rows, value = rows.join(pairs, on="prompt_id", how="left"), pl.col("paired").is_null().mean()
    mean, prompts = rows.select(value=value, prompts=pl.len()).collect(engine="streaming").row(0)
    return mean, prompts


def deciding(design: Design, scores: pl.DataFrame, *, at_start: bool = False) -> pl.DataFrame:
    """The rows of SCORES that decide: of the category, and of each arm's last theta, or of theta_0."""
    last = pl.col("arm").replace_strict({arm: design.last_theta(arm) for arm in design.arms}, return_dtype=pl.Int32)
    chosen = scores.filter(pl.col("theta") == (0 if at_start else last))
    return chosen if design.primary.category is None else chosen.filter(pl.col("category") == design.primary.category)


def scored(design: Design, scores: pl.DataFrame, *, at_start: bool = False) -> pl.DataFrame:
    """OUTCOMES: the mean score on the outcome's prompts, in the units of the score.

    A play with a prompt of unknown score has no row.
    """
    return (
        deciding(design, scores, at_start=at_start)
        .group_by("arm", "seed")
        .agg(value=pl.col("score").mean(), prompts=pl.len(), unknown=pl.col("score").is_null().sum())
        .filter(pl.col("unknown") == 0)
        .drop("unknown")
        .sort("arm", "seed")
        .cast(dict(OUTCOMES))  # type: ignore[arg-type]
    )
