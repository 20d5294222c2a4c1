"""One fixed model rates how complex and how good prompts of every iteration are; nothing is asked twice."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eva_data.errors import ConfigError, StaleError
from eva_data.files import write_parquet
from eva_data.iteration.run import Run
from eva_data.models.player import player_of
from eva_data.report.ratings import RATINGS, ratings_file, require_scipy


def rate_prompts(run: Run) -> pl.DataFrame:
    """RATINGS of a sample of every finished iteration, the seeds of iteration 1 among them; kept for report and card.

    Ids are hashes, so the prompts with the lowest ids are a draw. Finished calls come from the ledger.

    Raises ConfigError without a `score` block, StaleError without an iteration, and whatever stops a build.
    """
    block, iterations = run.config.score, run.store.iterations()
    if block is None:
        raise ConfigError(
            "`score` is missing: name the model that rates prompts, as `score: {model: {backend: api, model: ...}}`"
        )
    if not iterations:
        raise StaleError(f"{run.store.folder} has no iteration yet: make one with `eva-data build --iter 1`")
    # Not after all is paid for.
    require_scipy()
    player = player_of(block.model)
    found = []
    with run.store.locked(), run.servers:
        for iteration in iterations:
            prompts = run.store.scan("prompts", iteration).sort("prompt_id").head(block.sample)
            results = run.ask(
                player,
                "rate",
                prompts.select("prompt_id", "prompt").collect(engine="streaming"),
                iteration=iteration,
                stage="score",
                settings=block,
                key="score.model",
                framed=True,
            )
            rated = [(iteration, row["prompt_id"], *_values(scores), player.fingerprint) for row, scores in results]
            found.append(pl.DataFrame(rated, schema=RATINGS, orient="row"))
        ratings = pl.concat(found)
        write_parquet(ratings_file(run.store), ratings.to_arrow())
    return ratings


def _values(scores: dict[str, float | str | None]) -> Sequence[float | str | None]:
    return [scores[name] for name in ("complexity", "quality", "unscored")]
