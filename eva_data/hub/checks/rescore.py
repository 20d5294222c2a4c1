"""Scores some of an iteration's responses again with the present reward, and says where the reward differs."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import polars as pl

from eva_data.config import Consensus, LocalReward, Pairwise, RewardServer, Tournament
from eva_data.dataset.ordered import in_memory
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.iteration.run import Run
from eva_data.iteration.score import score
from eva_data.rewards.scorers import reward_model
from eva_data.tables.ids import uniform_draw

SHOWN = 3
"""Number of responses that are named; the others are counted."""

_NOISE = {"float32": 1e-4, "auto": 0.1, "bfloat16": 0.1, "float16": 0.02}
"""How far the scores of a text may differ with the rest of the batch; the defaults of `reward.invariance`."""


def rescore(store: Store, iteration: int, count: int, run: Run) -> tuple[list[str], int]:
    """The differences between the present reward and the table, and the number of responses that were scored again.

    `count` responses are drawn by the seed of the settings. A pairwise reward and a consensus compare responses, so all
    responses of their prompts are scored. No score is taken from the ledger or kept. Raise DataError if the manifest
    names other reward models than these settings.
    """
    manifest = store.at(iteration, store.built(iteration)).manifest(iteration)
    name = reward_model(run.scorers)
    if name != manifest.models.reward:
        raise DataError(
            f"the rewards of iteration {iteration} are by {manifest.models.reward}, and those of the settings are by "
            f"{name}, so they cannot be compared: name that reward in eva.yaml"
        )
    seen = store.at(iteration, store.built(iteration))
    answers = seen.scan("responses", iteration).filter(pl.col("stage") == "respond")
    scored = answers.filter(pl.col("reward").is_not_null())
    key = pl.concat_str("prompt_id", pl.lit("/"), pl.col("response_idx").cast(pl.String))
    draw = uniform_draw(key, seed=run.config.seed, stage="rescore", iteration=iteration)
    ids = ["prompt_id", "response_idx"]
    first = in_memory(scored.select(ids).sort(draw).head(count)).lazy()
    drawn = scored.join(first, on=ids, how="semi", maintain_order="left")
    if any(isinstance(scorer.block, Consensus | Tournament) for scorer in run.scorers):
        # A response without a reward may vote on others, or have met them.
        drawn = answers.join(first, on="prompt_id", how="semi")
    elif any(isinstance(scorer.block, Pairwise) for scorer in run.scorers):
        drawn = scored.join(first, on="prompt_id", how="semi")
    rows = drawn.collect()
    with tempfile.TemporaryDirectory() as folder:
        config = run.config.model_copy(update={"folder": Path(folder), "ledger": None})
        aside = replace(run, config=config)
        with aside.servers:
            prompts = seen.scan("prompts", iteration).collect()
            scales = manifest.reward_scales
            scored_now = score(aside, rows.lazy(), prompts, stage="respond", iteration=iteration, scales=scales)
            again = in_memory(scored_now.responses)
    both = rows.join(
        again.select("prompt_id", "response_idx", now="reward"), on=["prompt_id", "response_idx"], how="left"
    ).sort("prompt_id", "response_idx")
    allowed = _noise(run) * pl.max_horizontal(pl.lit(1.0), pl.col("reward").abs())
    agrees = ((pl.col("reward") - pl.col("now")).abs() <= allowed).fill_null(
        pl.col("reward").is_null() & pl.col("now").is_null()
    )
    other = both.filter(~agrees)
    if other.is_empty():
        return [], rows.height
    named = ", ".join(
        f"{row['prompt_id']}/{row['response_idx']} {_said(row['reward'])} where it is {_said(row['now'])}"
        for row in other.head(SHOWN).to_dicts()
    )
    more = f" and {other.height - SHOWN} more" if other.height > SHOWN else ""
    return [
        f"responses: of {rows.height} that were scored again, {other.height} have another reward than {name} gives: "
        f"{named}{more}"
    ], rows.height


def _said(reward: float | None) -> str:
    return "none" if reward is None else f"{reward:g}"


def _noise(run: Run) -> float:
    """The largest difference of equal rewards; 0 for functions and judges."""
    noises = [1e-9]
    for scorer in run.scorers:
        block = scorer.block
        if isinstance(block, LocalReward):
            noises.append(block.invariance or _NOISE[block.dtype])
        elif isinstance(block, RewardServer):
            noises.append(_NOISE[block.dtype])
    return max(noises)
