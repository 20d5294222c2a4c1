"""Makes the tables of the job that asks the solver n times per prompt (paper 3.3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import polars as pl

from eva_data.calls import Row
from eva_data.tables.ids import last_turn
from eva_data.tables.reasons import RESPONSE_FAILED
from eva_data.tables.schemas import REJECTS, RESPONSES, STANDARD_ERROR, conform, empty, frame_of

COMPLETIONS = pl.Schema(
    {
        "prompt_id": pl.String,
        "response_idx": pl.Int32,
        "response": pl.String,
        "finish_reason": pl.String,
        "prompt_tokens": pl.Int32,
        "completion_tokens": pl.Int32,
        "error": pl.String,
    }
)
"""One row per completion of a job; `error` says why `response` is null."""


def completions_frame(results: Iterable[tuple[Row, list[dict[str, Any]]]]) -> pl.DataFrame:
    """One row per completion from a job's (row, result) pairs."""
    return frame_of(
        (
            (
                row["prompt_id"],
                index,
                answer["text"],
                answer["finish_reason"],
                answer["prompt_tokens"],
                answer["completion_tokens"],
                answer["error"],
            )
            for row, answers in results
            for index, answer in enumerate(answers)
        ),
        COMPLETIONS,
    )


def completion_parts(
    results: Iterable[tuple[Row, list[dict[str, Any]]]], *, at_once: int = 2_000
) -> Iterator[pl.DataFrame]:
    """COMPLETIONS of `at_once` rows of a job at a time, in order. The completions of a prompt stay together."""
    left = iter(results)
    while part := list(islice(left, at_once)):
        yield completions_frame(part)


def responses(completions: pl.DataFrame, *, stage: str, iteration: int, solver: str) -> pl.DataFrame:
    """RESPONSES of a stage without rewards: one row per completion that did not fail."""
    answered = completions.filter(pl.col("error").is_null()).with_columns(
        stage=pl.lit(stage), iteration=pl.lit(iteration), solver=pl.lit(solver), reused=pl.lit(False)
    )
    return conform(answered, RESPONSES)


def failures(
    completions: pl.DataFrame, prompts: pl.DataFrame | pl.LazyFrame, *, stage: str, iteration: int
) -> pl.DataFrame:
    """REJECTS of a stage: prompts and completions that failed.

    If every completion of a prompt failed, the prompt has one row with the first error. Otherwise each failed
    completion has one row, with its error after `response_failed: `.
    """
    failed = (
        completions.sort("prompt_id", "response_idx")
        .with_columns(wholly=pl.col("error").is_not_null().all().over("prompt_id"))
        .filter(pl.col("error").is_not_null())
    )
    reasons = pl.concat(
        [
            failed.filter(pl.col("wholly")).unique("prompt_id", keep="first", maintain_order=True),
            failed.filter(~pl.col("wholly")).with_columns(error=pl.lit(RESPONSE_FAILED) + pl.col("error")),
        ]
    ).select("prompt_id", reason="error", stage=pl.lit(stage), iteration=pl.lit(iteration))
    if reasons.is_empty():
        return empty(REJECTS)
    asked = prompts.lazy().join(reasons.lazy().select("prompt_id"), on="prompt_id", how="semi")
    texts = asked.select("prompt_id", text=last_turn(pl.col("prompt"))).collect(engine="streaming")
    return conform(reasons.join(texts, on="prompt_id", how="left"), REJECTS)


def best_replies(scored: pl.DataFrame) -> pl.DataFrame:
    """The response with the highest reward to each prompt: `prompt_id` and `reply`.

    `scored` are RESPONSES of one stage. Only complete responses count (`finish_reason` is `stop`, or unknown) that are
    not blank and have a finite reward. Of equal rewards the lowest `response_idx` counts.
    """
    complete = pl.col("finish_reason").is_null() | (pl.col("finish_reason") == "stop")
    usable = complete & pl.col("reward").is_finite() & (pl.col("response").str.strip_chars() != "")
    return (
        scored.filter(usable)
        .sort("reward", "response_idx", descending=[True, False])
        .group_by("prompt_id")
        .agg(reply=pl.col("response").first())
        .sort("prompt_id")
    )


def rewarded(responses: pl.DataFrame, scores: pl.DataFrame, *, reward_model: str) -> pl.DataFrame:
    """RESPONSES with `reward` and `reward_model`; a reward is null if there is no usable reward.

    `scores` has one row per (`prompt_id`, `response_idx`) with `reward` and `reason`, and perhaps `reward_se`.
    """
    given = [name for name in ("reward", *STANDARD_ERROR) if name in scores.columns]
    joined = responses.drop("reward", "reward_model", *STANDARD_ERROR).join(
        scores.select("prompt_id", "response_idx", *given), on=["prompt_id", "response_idx"], how="left"
    )
    return conform(joined.with_columns(reward_model=pl.lit(reward_model)), RESPONSES)


def unscored(responses: pl.DataFrame, scores: pl.DataFrame, *, iteration: int) -> pl.DataFrame:
    """REJECTS of the reward stage: one row per response without a usable reward.

    `scores` is as in `rewarded`, with a column `raw`: a judge's reply that could not be read, else null. It follows
    the response in `text`.
    """
    judged = pl.lit("\n\n[the judge] ") + pl.col("raw").str.slice(0, 1000)
    failed = (
        scores.filter(pl.col("reason").is_not_null())
        .join(responses.select("prompt_id", "response_idx", "response"), on=["prompt_id", "response_idx"])
        .select(
            "prompt_id",
            "reason",
            text=pl.when(pl.col("raw").is_null())
            .then(pl.col("response").str.slice(0, 2000))
            .otherwise(pl.col("response").str.slice(0, 980) + judged),
        )
        .with_columns(stage=pl.lit("reward"), iteration=pl.lit(iteration))
    )
    return conform(failed, REJECTS)
