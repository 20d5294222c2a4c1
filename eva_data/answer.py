"""Prompts in, scored responses out: the solver's and the reward's jobs of a stage, and where every row went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.flow import Flow
from eva_data.models import llm_fields
from eva_data.respond import RESPONSE_FAILED, completions_frame, failures, responses
from eva_data.reward import rewarded, unscored
from eva_data.run import Player, Run


@dataclass(frozen=True)
class Answered:
    """Scored responses of a stage."""

    responses: pl.DataFrame
    """RESPONSES; `reward` is null where there is no usable one."""
    rejects: pl.DataFrame
    """REJECTS: prompts without a response, failed completions, responses without a reward."""
    flows: list[Flow]


def answer(run: Run, solver: Player, prompts: pl.DataFrame, *, stage: str, iteration: int) -> Answered:
    """Ask the solver for its n responses to every prompt and score them."""
    rows = prompts.select("prompt_id", "prompt").sort("prompt_id")
    job = run.job(
        "respond",
        iteration,
        stage,
        settings={"responses": solver.block.responses},
        model=llm_fields(solver.block, solver.model, run.config.seed, solver.block),
    )
    results: Any = run.work(job, rows, iteration, stage)
    completions = completions_frame(results)
    answered = responses(completions, stage=stage, iteration=iteration, solver=solver.model.fingerprint)
    failed = failures(completions, prompts, stage=stage, iteration=iteration)
    flow = Flow(
        stage,
        "prompts",
        rows.height,
        answered["prompt_id"].n_unique(),
        failed.filter(~pl.col("reason").str.starts_with(RESPONSE_FAILED)).height,
    )
    scored, unusable = score(run, answered, prompts, stage=stage, iteration=iteration)
    reward_flow = Flow(f"reward ({stage})", "responses", scored.height, scored["reward"].count(), unusable.height)
    return Answered(scored, pl.concat([failed, unusable]), [flow, reward_flow])


def score(
    run: Run, answered: pl.DataFrame, prompts: pl.DataFrame, *, stage: str, iteration: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """RESPONSES with rewards, and the REJECTS of those that got none."""
    texts = prompts.select("prompt_id", prompt=pl.col("prompt").list.last().struct.field("content"))
    rows = (
        answered.select("prompt_id", "response_idx", "response")
        .join(texts, on="prompt_id")
        .sort("prompt_id", "response_idx")
    )
    job = run.job(
        "reward",
        iteration,
        f"reward-{stage}",
        settings={"function": run.verifier.function, "fingerprint": run.verifier_fingerprint},
    )
    results: Any = run.work(job, rows, iteration, "reward")
    scores = pl.DataFrame(
        [(row["prompt_id"], row["response_idx"], reward, reason) for row, (reward, reason) in results],
        schema={"prompt_id": pl.String, "response_idx": pl.Int32, "reward": pl.Float64, "reason": pl.String},
        orient="row",
    )
    scored = rewarded(answered, scores, reward_model=run.verifier_fingerprint)
    return scored, unscored(answered, scores, iteration=iteration)


def carry_over(estimated: pl.DataFrame, carried: pl.DataFrame, *, iteration: int) -> pl.DataFrame:
    """RESPONSES of the respond stage for carried prompts, copied from those the same solver gave in *estimate*."""
    return estimated.join(carried.select("prompt_id"), on="prompt_id", how="semi").with_columns(
        stage=pl.lit("respond"), reused=pl.lit(True), iteration=pl.lit(iteration, dtype=pl.Int32)
    )
