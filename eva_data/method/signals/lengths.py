"""Rewards without what they give for length alone: what a regression of the reward on log length explains is taken off.

reward = a(prompt) + b ln(length) + rest, with an effect of each prompt, so that only the responses to one prompt are
compared with each other. b is the median of the slopes between two of them (Theil 1950, Sen 1968): once it is taken
off, the longer of two responses has the higher reward in half of all cases. Least squares follows the few largest
rewards: where most are near 0, it makes the shorter response win nearly always. b of a prompt comes from other prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl

from eva_data.tables.ids import uniform_draw

FOLDS = 5
"""Groups of prompts, drawn by hash. A prompt stays in its group in every iteration."""

MOST_SLOPES = 5_000_000
"""A median of so many slopes is known to a thousandth of their spread."""

_STEPS = 2.0**32

Unit: TypeAlias = Literal["tokens", "characters"]


@dataclass(frozen=True)
class LengthFit:
    """The regression of a stage's rewards on the lengths of its responses."""

    unit: Unit
    """`tokens`, or `characters` if the tokens of some response are not known."""
    coefficients: tuple[float | None, ...]
    """For each of FOLDS groups, the reward per unit of ln(length) among the prompts of the other groups; None if these
    hold no two responses to compare. The rewards of that group then stay as they are."""
    prompts: int
    """Prompts with two responses of different lengths and rewards."""
    slopes: int
    """Such pairs of responses, of which the coefficients are medians."""


@dataclass(frozen=True)
class PairLengths:
    """Which of the two responses of each pair is the longer one."""

    pairs: int
    longer: int
    """Pairs whose chosen response has more characters."""
    shorter: int
    """Pairs whose chosen response has fewer characters."""
    difference: float | None
    """Mean of the chosen response's given reward less the rejected response's; None without pairs."""


def length_fit(responses: pl.DataFrame | pl.LazyFrame, *, seed: int) -> LengthFit:
    """Fit the rewards of RESPONSES of one stage.

    Cut responses do not count, since their length is the limit's, and neither do equal rewards. If there are more than
    MOST_SLOPES slopes, they are those of prompts that are drawn by hash.
    """
    scored = responses.lazy().filter(_is_scored())
    unknown = scored.select(pl.col("completion_tokens").null_count()).collect(engine="streaming").item()
    unit: Unit = "characters" if unknown else "tokens"
    counted = scored.filter(pl.col("finish_reason").ne_missing("length"))
    sizes = counted.group_by("prompt_id").len().select(pl.col("len").cast(pl.Float64))
    slopes_there = sizes.select((pl.col("len") * (pl.col("len") - 1) / 2).sum()).collect(engine="streaming").item()
    if slopes_there > MOST_SLOPES:
        counted = counted.filter(_draw(seed, 1) < MOST_SLOPES / slopes_there)
    points = counted.select("reward", "prompt_id", length=_log_length(unit), fold=_fold(seed)).collect(
        engine="streaming"
    )
    those = points.select(pl.exclude("prompt_id"), prompt=pl.col("prompt_id").rank("dense")).lazy()
    slopes = (
        those.join(those.select("prompt", other="reward", shorter="length"), on="prompt")
        .filter(pl.col("length") > pl.col("shorter"), pl.col("reward") != pl.col("other"))
        .select("prompt", "fold", slope=(pl.col("reward") - pl.col("other")) / (pl.col("length") - pl.col("shorter")))
        .collect(engine="streaming")
    )
    medians = [slopes.filter(pl.col("fold") != fold).select(pl.col("slope").median()).item() for fold in range(FOLDS)]
    return LengthFit(unit, tuple(medians), prompts=slopes["prompt"].n_unique(), slopes=slopes.height)


def length_adjusted(responses: pl.LazyFrame, fit: LengthFit | None, *, seed: int) -> pl.LazyFrame:
    """RESPONSES of one stage with adjusted rewards: reward - b (ln(length) - mean of ln(length) of the prompt).

    So the mean reward of a prompt's responses stays, and a response of its prompt's usual length keeps its reward. If
    the rewards of all responses are equal, they stay equal, so that length alone makes no pair. Without a fit, the
    rewards are those given.
    """
    if fit is None:
        return responses
    coefficients = {fold: each for fold, each in enumerate(fit.coefficients) if each is not None}
    if not coefficients:
        return responses
    slope = _fold(seed).replace_strict(
        list(coefficients), list(coefficients.values()), default=0.0, return_dtype=pl.Float64
    )
    reward, length = (pl.when(_is_scored()).then(each) for each in (pl.col("reward"), _log_length(fit.unit)))
    away = length - length.mean().over("prompt_id")
    differs = reward.max().over("prompt_id") > reward.min().over("prompt_id")
    return responses.with_columns(
        reward=pl.when(_is_scored() & differs).then(reward - slope * away).otherwise("reward")
    )


def pair_lengths(pairs: pl.DataFrame, responses: pl.DataFrame) -> PairLengths:
    """Count which response is longer in PREFERENCES, with the rewards of RESPONSES of the same stage."""
    return counted_gaps(pair_gaps(pairs, responses))


def pair_gaps(pairs: pl.DataFrame, responses: pl.DataFrame) -> pl.DataFrame:
    """How much longer the chosen response of each pair is, in `characters`, and how much more `reward` it has."""
    of_side = [
        responses.select(
            "prompt_id",
            pl.col("response_idx").alias(f"{side}_idx"),
            pl.col("reward").alias(f"{side}_reward"),
            pl.col("response").str.len_chars().cast(pl.Int64).alias(f"{side}_length"),
        )
        for side in ("chosen", "rejected")
    ]
    both = pairs.select("prompt_id", "chosen_idx", "rejected_idx")
    for side in of_side:
        both = both.join(side, on=side.columns[:2], how="left", maintain_order="left")
    return both.select(
        characters=pl.col("chosen_length") - pl.col("rejected_length"),
        reward=pl.col("chosen_reward") - pl.col("rejected_reward"),
    )


def counted_gaps(gaps: pl.DataFrame) -> PairLengths:
    """What all `pair_gaps` come to, however many parts they were computed in."""
    more = gaps["characters"]
    mean = math.fsum(gaps["reward"]) / gaps.height if gaps.height else None
    return PairLengths(gaps.height, int((more > 0).sum()), int((more < 0).sum()), mean)


def _is_scored() -> pl.Expr:
    failed = pl.col("finish_reason").eq_missing("error")
    return (pl.col("reward").is_finite() & pl.col("response").is_not_null() & ~failed).fill_null(False)


def _log_length(unit: Unit) -> pl.Expr:
    """The natural logarithm of the length; an empty response counts as one token or character.

    It is rounded to a multiple of 2^-32, so that sums are exact and do not depend on the order of the rows.
    """
    length = pl.col("completion_tokens") if unit == "tokens" else pl.col("response").str.len_chars()
    return (length.clip(lower_bound=1).cast(pl.Float64).log() * _STEPS).round() / _STEPS


def _fold(seed: int) -> pl.Expr:
    return (_draw(seed, 0) * FOLDS).floor().cast(pl.Int32)


def _draw(seed: int, number: int) -> pl.Expr:
    return uniform_draw(pl.col("prompt_id"), seed=seed, stage="length", iteration=number)
