"""One fixed model rates how complex and how good prompts of every iteration are; nothing is asked twice."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eva_data.dataset.records.prompt_scores import keep_scores
from eva_data.errors import ConfigError, StaleError
from eva_data.iteration.run import Run
from eva_data.models.player import player_of
from eva_data.report.card import write_card
from eva_data.report.measures.ratings import require_scipy
from eva_data.tables.schemas import PROMPT_SCORES, frame_of


def rate_prompts(run: Run) -> pl.DataFrame:
    """PROMPT_SCORES of a sample of every finished iteration, the seeds of iteration 1 among them; kept in the folder.

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
            rated = ((iteration, row["prompt_id"], *_values(scores), player.fingerprint) for row, scores in results)
            found.append(frame_of(rated, PROMPT_SCORES))
        ratings = pl.concat(found)
        keep_scores(run.store, ratings, scorer=player.fingerprint, sample=block.sample)
        # The card tells `load_dataset` where they are.
        write_card(run.store, run.config.publish.licence)
    return ratings


def _values(scores: dict[str, float | str | None]) -> Sequence[float | str | None]:
    return [scores[name] for name in ("complexity", "quality", "unscored")]
