"""Rewards beside the responses that they are of (paper section 4); what scores them is in `eva_data.rewards`."""

from __future__ import annotations

import polars as pl

from eva_data.records import REJECTS, RESPONSES, conform


def rewarded(responses: pl.DataFrame, scores: pl.DataFrame, *, reward_model: str) -> pl.DataFrame:
    """RESPONSES with `reward` and `reward_model`; null rewards where there is no usable one.

    `scores` has one row per (`prompt_id`, `response_idx`) with `reward` and `reason`.
    """
    joined = responses.drop("reward", "reward_model").join(
        scores.select("prompt_id", "response_idx", "reward"), on=["prompt_id", "response_idx"], how="left"
    )
    return conform(joined.with_columns(reward_model=pl.lit(reward_model)), RESPONSES)


def unscored(responses: pl.DataFrame, scores: pl.DataFrame, *, iteration: int) -> pl.DataFrame:
    """REJECTS of the reward stage: one row per response without a usable reward.

    `scores` as in `rewarded`, with `raw`: what a judge wrote that could not be read, which follows the response in
    `text`.
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
