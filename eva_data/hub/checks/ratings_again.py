"""Checks the ratings of prompts for `verify`: the files, who was drawn, and the scale."""

from __future__ import annotations

from pathlib import PurePosixPath

import polars as pl

from eva_data.dataset.records.prompt_scores import read_score_record, read_scores
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.evolve.scorer import HIGHEST, LOWEST


def verify_ratings(store: Store) -> tuple[list[str], list[str]]:
    """Errors in the ratings of a dataset, and facts that could not be checked; both empty without ratings."""
    try:
        record = read_score_record(store)
        rows = read_scores(store, record)
    except DataError as error:
        return [f"prompt_scores: {error}"], []
    if record is None:
        return [], []
    problems = []
    strangers = rows.filter(pl.col("scorer") != record.scorer).height
    if strangers:
        problems.append(f"prompt_scores: {strangers} ratings are by another model than the record says")
    for aspect in ("complexity", "quality"):
        score = pl.col(aspect)
        wrong = rows.filter(score.is_not_null() & ~score.is_between(LOWEST, HIGHEST)).height
        if wrong:
            problems.append(f"prompt_scores: {wrong} values of `{aspect}` are not from {LOWEST} to {HIGHEST}")
    unsaid = rows.filter(pl.any_horizontal(pl.col("complexity", "quality").is_null()) & pl.col("unscored").is_null())
    if unsaid.height:
        problems.append(f"prompt_scores: {unsaid.height} prompts lack a rating without a reason in `unscored`")
    for name in record.files:
        iteration = int(PurePosixPath(name).stem.removeprefix("iter_"))
        if iteration not in store.iterations():
            problems.append(f"{name}: there is no iteration {iteration}")
            continue
        # The lowest ids are the draw.
        drawn = store.scan("prompts", iteration).select("prompt_id").sort("prompt_id").head(record.sample)
        rated = rows.filter(pl.col("iteration") == iteration)["prompt_id"]
        if rated.sort().to_list() != drawn.collect()["prompt_id"].to_list():
            problems.append(
                f"{name}: the rated prompts are not the {record.sample} with the lowest ids of iteration {iteration}"
            )
    return problems, ["whether the model named there gave the ratings of prompts"]
