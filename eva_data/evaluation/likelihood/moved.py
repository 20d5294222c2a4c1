"""How far training moved theta_t: on the chosen responses of its iteration, and from theta_0 in its own answers."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from eva_data.calls import Rows
from eva_data.config import TransformersModel, VllmModel
from eva_data.dataset.records.acceptance import Moved
from eva_data.errors import ConfigError
from eva_data.evaluation.evaluate import prompts_of, sets_of
from eva_data.evaluation.likelihood.measuring import LikelihoodJob
from eva_data.iteration.players import solver_of
from eva_data.iteration.run import Run
from eva_data.jobs.job import Job, ProgressFile
from eva_data.models.player import Player
from eva_data.tables.draws import smallest
from eva_data.tables.ids import uniform_draw
from eva_data.tables.schemas import MESSAGES

MOST_PAIRS, MOST_PROMPTS = 512, 64
"""Chosen responses and prompts that are measured, drawn by lot if there are more."""

_BATCH = 8
"""Answers that are computed together for a solver whose settings name no number."""


def measure(run: Run, theta: int) -> Moved:
    """Measure theta_t against the model before it, on a pair of each prompt of iteration t, and against theta_0.

    The prompts are those of the first set of the settings, or else the prompts of iteration t. The models run by
    transformers in a process of their own, on the device on which theta_t is trained. Raise the errors of `run_job`.
    """
    plain = replace(run, solver_override=None)
    ours, before = solver_of(plain, theta + 1), solver_of(plain, theta)
    initial = solver_of(plain, run.config.first_answered)
    pairs = _drawn(run, theta, run.store.scan("preferences", theta).select("prompt_id", "prompt", "chosen"), MOST_PAIRS)
    pairs = pairs.unique("prompt_id", keep="first", maintain_order=True)
    prompts, asked = _prompts(run, theta)
    rows = pl.concat(
        [pairs, prompts.select("prompt_id", "prompt", chosen=pl.lit(None, dtype=MESSAGES))], how="vertical"
    )
    folder = "moved"
    results = run.compute(
        "evaluate",
        rows,
        iteration=theta,
        settings=_settings(ours, before, initial),
        function=measure_rows,
        folder=folder,
        shown=f"theta_{theta} moved",
    )
    shutil.rmtree(run.store.job_folder(theta, folder), ignore_errors=True)
    return summed(results, before=before.fingerprint, initial=initial.fingerprint, asked=asked)


def measure_rows(job: Job, rows: Rows) -> list[dict[str, Any] | None]:
    """For each row {prompt_id, prompt, chosen}, what was measured; None if it does not fit the model.

    With a chosen response: {tokens, before, after}, the log-probabilities of its tokens, summed, under the model
    before and under theta. Without: {tokens, kl}, the number of predicted tokens of an answer that theta sampled, and
    the sum of the divergences of their distributions from theta_0's. This runs in a child process.
    """
    from eva_data.evaluation.likelihood.log_probabilities import measured

    assert isinstance(job.settings, LikelihoodJob)
    return measured(job.settings, rows, job.seed, ProgressFile(job))


def summed(results: Iterable[tuple[dict[str, Any], Any]], *, before: str, initial: str, asked: str) -> Moved:
    """The figures of the rows that `measure_rows` measured. A figure without rows, or not finite, is None.

    A mean over tokens counts every token once, so that long responses count more.
    """
    pairs = [found for row, found in results if row["chosen"] is not None]
    prompts = [found for row, found in results if row["chosen"] is None]
    measured, answered = ([found for found in part if found is not None] for part in (pairs, prompts))
    change = [found["after"] - found["before"] for found in measured]
    divergence = [found["kl"] for found in answered]
    return Moved(
        before=before,
        initial=initial,
        pairs=len(measured),
        pairs_left_out=len(pairs) - len(measured),
        chosen_per_token=_mean(change, sum(found["tokens"] for found in measured)),
        chosen_per_response=_mean(change, len(measured)),
        prompts=len(answered),
        prompts_left_out=len(prompts) - len(answered),
        asked=asked,
        kl_per_token=_mean(divergence, sum(found["tokens"] for found in answered)),
        kl_per_answer=_mean(divergence, len(answered)),
    )


def _mean(values: Sequence[float], count: int) -> float | None:
    total = math.fsum(values) if all(map(math.isfinite, values)) else math.nan
    return total / count if count and math.isfinite(total) else None


def _prompts(run: Run, theta: int) -> tuple[pl.DataFrame, str]:
    """The prompts that theta_t answers, and where they come from."""
    sets = sets_of(run)
    if sets:
        found, source = prompts_of(run, sets[0], run.note).lazy(), f"the set {sets[0].name}"
    else:
        found, source = run.store.scan("prompts", theta), f"iteration {theta}"
    return _drawn(run, theta, found.select("prompt_id", "prompt"), MOST_PROMPTS), source


def _drawn(run: Run, theta: int, table: pl.LazyFrame, count: int) -> pl.DataFrame:
    draw = uniform_draw(pl.col("prompt_id"), seed=run.config.seed, stage="moved", iteration=theta)
    return table.filter(smallest(table, draw, count)).sort("prompt_id").collect()


def _settings(theta: Player, before: Player, initial: Player) -> LikelihoodJob:
    block = theta.block
    if not isinstance(block, TransformersModel | VllmModel):
        raise ConfigError("`solver` is no model on this machine: there is nothing here to measure")
    return LikelihoodJob(
        theta=str(theta.path),
        before=str(before.path),
        initial=str(initial.path),
        dtype=block.dtype,
        device=block.device,
        threads=block.threads if isinstance(block, TransformersModel) else None,
        trust_remote_code=block.trust_remote_code,
        batch_size=block.batch_size if isinstance(block, TransformersModel) else _BATCH,
        max_tokens=block.max_tokens,
    )
