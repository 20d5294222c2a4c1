"""Asks the solver n times per prompt (paper 3.3.1); the tables that its job makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from eva_data.calls import Row
from eva_data.records import REJECTS, RESPONSES, conform

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
"""One row per completion as the job returned it; `error` says why `response` is null."""


def completions_frame(results: Sequence[tuple[Row, list[dict[str, Any]]]]) -> pl.DataFrame:
    """One row per completion from a job's (row, result) pairs."""
    return pl.DataFrame(
        [
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
        ],
        schema=COMPLETIONS,
        orient="row",
    )


def responses(completions: pl.DataFrame, *, stage: str, iteration: int, solver: str) -> pl.DataFrame:
    """RESPONSES of a stage without rewards: one row per completion that did not fail."""
    answered = completions.filter(pl.col("error").is_null()).with_columns(
        stage=pl.lit(stage), iteration=pl.lit(iteration), solver=pl.lit(solver), reused=pl.lit(False)
    )
    return conform(answered, RESPONSES)


def failures(completions: pl.DataFrame, prompts: pl.DataFrame, *, stage: str, iteration: int) -> pl.DataFrame:
    """REJECTS of a stage: what got no response.

    One row per prompt of which every completion failed, with its first error; for other prompts one row per
    failed completion, its error behind `response_failed: `.
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
    texts = prompts.select("prompt_id", text=last_turn(pl.col("prompt")))
    return conform(reasons.join(texts, on="prompt_id", how="left"), REJECTS)


RESPONSE_FAILED = "response_failed: "


def last_turn(prompt: pl.Expr) -> pl.Expr:
    """The text of a conversation's last turn, cut at 2000 characters, for a person to read."""
    return prompt.list.last().struct.field("content").str.slice(0, 2000)
