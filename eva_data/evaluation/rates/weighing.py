"""From verdicts to scores of prompts and to rates: means, Bradley and Terry's model, and style held equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from eva_data.comparing.orders import by_panel
from eva_data.evaluation.rule import JudgingRule
from eva_data.statistics.bootstrap import drawn_counts, mean_difference, rate_of_draws
from eva_data.statistics.bradley_terry import bradley_terry
from eva_data.statistics.interval import Interval
from eva_data.statistics.rates import bounded_mean
from eva_data.statistics.style import FEATURES, differences

KEYS = ["prompt_id", "turn", "sample"]
"""The columns that name a judged answer."""

FEWEST = 10
"""Prompts below which no influence of style is fitted."""

MANY_RATINGS = 50
"""Rated prompts from which their mean has the interval of the studentised bootstrap, as rewards have it."""

SOLVER, OTHER = "solver", "other"


@dataclass(frozen=True)
class Styled:
    """The win rate where both sides write in the same style."""

    rate: Interval
    influence: Mapping[str, float]
    """Feature -> change of the log odds of a win with one deviation more of it."""


def in_whole(own: pl.DataFrame) -> pl.DataFrame:
    """The rows of prompts that a judge judged in both orders: a verdict in one order alone favours a place."""
    orders = own.filter(pl.col("score").is_not_null()).group_by("judge", *KEYS).agg(orders=pl.col("order").n_unique())
    return own.join(orders.filter(pl.col("orders") == 2), on=["judge", *KEYS], how="semi")


def compared_scores(own: pl.DataFrame, rule: JudgingRule) -> tuple[pl.DataFrame, float | None]:
    """One row per judged prompt with the panel's `score`, `category` and `weight`; and the mean agreement with it.

    `weight` is the number of verdicts that the score is the mean of, where the rule weighs verdicts, else 1.
    """
    whole = in_whole(own) if rule.orders == "both" else own
    panel = by_panel(whole, KEYS)
    named = own.select("prompt_id", "category").unique("prompt_id")
    scores = panel.group_by("prompt_id").agg(pl.col("score").mean(), pl.col("agreement").mean())
    agreement = scores["agreement"].mean()
    if rule.weights is None:
        scores = scores.with_columns(weight=pl.lit(1.0))
    else:
        weight = _weights(rule)
        scores = (
            whole.filter(pl.col("score").is_not_null())
            .group_by("prompt_id")
            .agg(score=(pl.col("score") * weight).sum() / weight.sum(), weight=weight.sum())
        )
    return scores.join(named, on="prompt_id", how="left"), agreement if isinstance(agreement, float) else None


def single_scores(own: pl.DataFrame, right: float | None) -> pl.DataFrame:
    """One row per judged prompt: the mean over turns, samples and judges, of right answers or of ratings."""
    score = pl.col("score") if right is None else (pl.col("score") >= right).cast(pl.Float64)
    return (
        own.filter(pl.col("score").is_not_null())
        .group_by("prompt_id")
        .agg(score=score.mean(), category=pl.col("category").first())
        .with_columns(weight=pl.lit(1.0))
    )


def rate(scores: pl.DataFrame, rule: JudgingRule, scale: tuple[float, float], seed: int) -> Interval | None:
    """The mean of the prompts' scores, or of all verdicts where the rule weighs them; None without any.

    The latter is what Bradley and Terry's model gives for two sides, sum(weight x score) / sum(weight): the log odds of
    a side that met only the other are those of its share of the verdicts. Its interval is from draws of prompts, each
    with all its verdicts.
    """
    values = scores.sort("prompt_id")["score"].to_numpy()
    if values.size == 0:
        return None
    if rule.kind == "score":
        # A reward's scale has no ends, so one prompt alone has no interval.
        return mean_difference(values, 0 * values, seed=seed) if values.size > 1 else None
    if rule.kind == "rate" and values.size >= MANY_RATINGS and np.ptp(values) > 0:
        # Part of a prompt at the far end of a long scale makes `bounded_mean` too wide for ratings near the other end.
        drawn = mean_difference(values, 0 * values, seed=seed)
        return replace(drawn, low=max(drawn.low, scale[0]), high=min(drawn.high, scale[1]))
    if rule.weights is None:
        return bounded_mean(values, *scale)
    ordered = scores.sort("score", "weight", "prompt_id")
    won, weight = (ordered["score"] * ordered["weight"]).to_numpy(), ordered["weight"].to_numpy()
    counts = drawn_counts(ordered.height, seed=seed).astype(float)
    return rate_of_draws(float(won.sum() / weight.sum()), (counts @ won) / (counts @ weight), ordered.height)


def styled(own: pl.DataFrame, rule: JudgingRule, seed: int) -> Styled | None:
    """The rate with style held equal; None where the rule has none, or with too few prompts or no difference in style.

    Arena-Hard's style control: differences in length, headers, lists and bold enter Bradley and Terry's model.
    """
    if not rule.style:
        return None
    judged = in_whole(own).drop_nulls(["score", "response", "response_against"]).sort(*KEYS, "judge", "order")
    if judged["prompt_id"].n_unique() < FEWEST:
        return None
    style = differences(judged["response"], judged["response_against"])
    if not np.ptp(style, axis=0).any():
        return None
    found = bradley_terry(
        [SOLVER] * judged.height,
        [OTHER] * judged.height,
        judged["score"].to_numpy(),
        judged["prompt_id"].to_list(),
        OTHER,
        style,
        weights=judged.select(_weights(rule)).to_series().to_numpy(),
        seed=seed,
    )
    return Styled(found.win_rate[SOLVER], dict(zip(FEATURES, found.covariates, strict=True)))


def _weights(rule: JudgingRule) -> pl.Expr:
    """How many verdicts a row counts for; a row that no judge decided counts for one."""
    return pl.col("label").replace_strict(rule.weights or {}, default=1.0, return_dtype=pl.Float64)
