"""Turns prompts into scored responses by the jobs of the solver and the reward, and counts where every row went."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from eva_data.calls import GAVE_UP
from eva_data.iteration.run import Run
from eva_data.iteration.score import Scales, score
from eva_data.jobs.job import Responses
from eva_data.method.responses import completions_frame, failures, responses
from eva_data.models.player import Player
from eva_data.tables.flow import Flow
from eva_data.tables.reasons import RESPONSE_FAILED


@dataclass(frozen=True)
class Answered:
    """The scored responses of a stage."""

    responses: pl.DataFrame
    """RESPONSES; `reward` is null if there is no usable reward."""
    rejects: pl.DataFrame
    """REJECTS: prompts without a response, failed completions, responses without a reward."""
    flows: list[Flow]
    scales: Scales
    """The constants by which several rewards were standardised; empty with one reward."""
    notes: list[str]
    comparisons: pl.DataFrame
    """COMPARISONS: the verdicts of a tournament; no rows with other rewards."""


def answer(
    run: Run,
    solver: Player,
    prompts: pl.DataFrame,
    *,
    stage: str,
    iteration: int,
    scales: Scales | None = None,
    key: str = "solver",
) -> Answered:
    """Ask the solver for its n responses to every prompt and score them. `key` is its place in the settings.

    `scales` are the constants by which several rewards are standardised; None computes them from these responses.
    """
    rows = prompts.select("prompt_id", "prompt").sort("prompt_id")
    results = run.ask(
        solver,
        "respond",
        rows,
        iteration=iteration,
        stage=stage,
        settings=Responses(responses=solver.block.responses),
        key=key,
    )
    completions = completions_frame(results)
    answered = responses(completions, stage=stage, iteration=iteration, solver=solver.fingerprint)
    failed = failures(completions, prompts, stage=stage, iteration=iteration)
    given_up = completions.filter(pl.col("error").str.starts_with(GAVE_UP)).height
    notes = []
    if given_up:
        note = run.note(
            f"{given_up} of {completions.height} responses of the {stage} stage were given up after all attempts; "
            "they are in `rejects` with the last error"
        )
        notes.append(note)
    flow = Flow(
        stage,
        "prompts",
        rows.height,
        answered["prompt_id"].n_unique(),
        failed.filter(~pl.col("reason").str.starts_with(RESPONSE_FAILED)).height,
    )
    scored = score(run, answered, prompts, stage=stage, iteration=iteration, scales=scales)
    rewards, unusable = scored.responses["reward"], scored.rejects
    reward_flow = Flow(f"reward ({stage})", "responses", rewards.len(), rewards.count(), unusable.height)
    notes += scored.notes
    return Answered(
        scored.responses,
        pl.concat([failed, unusable]),
        [flow, reward_flow],
        scored.scales,
        notes,
        scored.comparisons,
    )


def contrasted(
    run: Run, contrast: Player, prompts: pl.DataFrame, *, iteration: int, scales: Scales, first: int
) -> Answered:
    """The responses of the weaker model to X_t, in stage contrast.

    Their `response_idx` begins at `first`, so that the index of a response names it among those of both models.
    """
    answered = answer(run, contrast, prompts, stage="contrast", iteration=iteration, scales=scales, key="contrast")
    return replace(answered, responses=answered.responses.with_columns(pl.col("response_idx") + first))


def carry_over(estimated: pl.DataFrame, carried: pl.DataFrame, *, iteration: int) -> pl.DataFrame:
    """RESPONSES of the respond stage for carried prompts: copies of the same solver's responses in *estimate*."""
    return estimated.join(carried.select("prompt_id"), on="prompt_id", how="semi").with_columns(
        stage=pl.lit("respond"), reused=pl.lit(True), iteration=pl.lit(iteration, dtype=pl.Int32)
    )
