"""Turns prompts into scored responses by the jobs of the solver and the reward, and counts where every row went."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from eva_data.calls import GAVE_UP
from eva_data.dataset.ordered import Table, height_of, in_memory
from eva_data.dataset.spool import Spool
from eva_data.iteration.run import Run
from eva_data.iteration.score import Scales, score
from eva_data.jobs.job import Responses
from eva_data.jobs.results import Parted
from eva_data.method.responses import completion_parts, failures, responses
from eva_data.models.player import Player
from eva_data.tables.flow import Flow
from eva_data.tables.ranges import ranges_for
from eva_data.tables.reasons import RESPONSE_FAILED
from eva_data.tables.schemas import REJECTS, RESPONSES

PROMPTS_AT_ONCE = 20_000
"""Prompts whose texts are in memory at once while they are written for a job."""


@dataclass(frozen=True)
class Answered:
    """The scored responses of a stage."""

    responses: pl.LazyFrame
    """RESPONSES; `reward` is null if there is no usable reward. They lie in the work folder if they are many."""
    rejects: pl.LazyFrame
    """REJECTS: prompts without a response, failed completions, responses without a reward."""
    flows: list[Flow]
    scales: Scales
    """The constants by which several rewards were standardised; empty with one reward."""
    notes: list[str]
    comparisons: pl.LazyFrame
    """COMPARISONS: the verdicts of a tournament; no rows with other rewards."""


def answer(
    run: Run,
    solver: Player,
    prompts: Table,
    *,
    stage: str,
    iteration: int,
    scales: Scales | None = None,
    key: str = "solver",
) -> Answered:
    """Ask the solver for its n responses to every prompt and score them. `key` is its place in the settings.

    `scales` are the constants by which several rewards are standardised; None computes them from these responses.
    """
    rows = _asked(prompts)
    results = run.ask(
        solver,
        "respond",
        rows,
        iteration=iteration,
        stage=stage,
        settings=Responses(responses=solver.block.responses),
        key=key,
    )
    folder = run.store.work_folder(iteration)
    answered, failed = Spool(folder, f"{stage}-answers", RESPONSES), Spool(folder, f"{stage}-failures", REJECTS)
    given_up = asked = prompts_out = lost = 0
    for part in completion_parts(results):
        given = responses(part, stage=stage, iteration=iteration, solver=solver.fingerprint)
        without = failures(part, prompts, stage=stage, iteration=iteration)
        answered.add(given)
        failed.add(without)
        asked += part.height
        given_up += part.filter(pl.col("error").str.starts_with(GAVE_UP)).height
        prompts_out += given["prompt_id"].n_unique()
        lost += without.filter(~pl.col("reason").str.starts_with(RESPONSE_FAILED)).height
    notes = []
    if given_up:
        note = run.note(
            f"{given_up} of {asked} responses of the {stage} stage were given up after all attempts; "
            "they are in `rejects` with the last error"
        )
        notes.append(note)
    flow = Flow(stage, "prompts", rows.height, prompts_out, lost)
    scored = score(run, answered.table(), prompts, stage=stage, iteration=iteration, scales=scales)
    counts = in_memory(scored.responses.select(pl.len(), rewards=pl.col("reward").count())).row(0)
    reward_flow = Flow(f"reward ({stage})", "responses", counts[0], counts[1], height_of(scored.rejects))
    notes += scored.notes
    return Answered(
        scored.responses,
        pl.concat([failed.table(), scored.rejects]),
        [flow, reward_flow],
        scored.scales,
        notes,
        scored.comparisons,
    )


def _asked(prompts: Table) -> Parted:
    """`prompt_id` and `prompt` of all prompts, in the order of their ids."""
    rows = prompts.lazy().select("prompt_id", "prompt")
    height = height_of(rows)
    ranges = ranges_for(height, PROMPTS_AT_ONCE)
    return Parted(height, lambda: (in_memory(part.of(rows)).sort("prompt_id") for part in ranges))


def contrasted(run: Run, contrast: Player, prompts: Table, *, iteration: int, scales: Scales, first: int) -> Answered:
    """The responses of the weaker model to X_t, in stage contrast.

    Their `response_idx` begins at `first`, so that the index of a response names it among those of both models.
    """
    answered = answer(run, contrast, prompts, stage="contrast", iteration=iteration, scales=scales, key="contrast")
    return replace(answered, responses=answered.responses.with_columns(pl.col("response_idx") + first))


def carry_over(estimated: pl.LazyFrame, carried: pl.LazyFrame, *, iteration: int, folder: Path | None) -> pl.LazyFrame:
    """RESPONSES of the respond stage for carried prompts: copies of the same solver's responses in *estimate*.

    They lie in `folder` if they are many.
    """
    copies = Spool(folder, "carried", RESPONSES)
    ids = carried.select("prompt_id")
    for part in ranges_for(height_of(estimated)) if height_of(ids) else []:
        rows = part.of(estimated).join(part.of(ids), on="prompt_id", how="semi", maintain_order="left")
        copies.add(
            in_memory(rows).with_columns(
                stage=pl.lit("respond"), reused=pl.lit(True), iteration=pl.lit(iteration, dtype=pl.Int32)
            )
        )
    return copies.table()
