"""Rewards from a tournament of a prompt's responses, computed from the verdicts (COMPARISONS) alone."""

from __future__ import annotations

import numpy as np
import polars as pl

from eva_data.method.signals.strengths import strengths
from eva_data.tables.ranges import id_ranges

TOURNAMENT = "tournament:"
"""The beginning of the name of such a reward in the column `reward_model`."""

AT_ONCE = 200_000
"""Prompts whose strengths are computed together."""

NOT_COMPARED = "not_compared"
NOTHING_TO_COMPARE = "nothing_to_compare"

_FITTED = pl.Schema({"prompt_id": pl.String, "player": pl.Int32, "reward": pl.Float64, "reward_se": pl.Float64})
_RESPONSE = ["prompt_id", "response_idx"]
_MATCH = ["prompt_id", "judge", "lower", "upper"]


def tournament_rewards(responses: pl.DataFrame, comparisons: pl.DataFrame) -> pl.DataFrame:
    """The reward of each response: `prompt_id`, `response_idx`, `reward`, `reward_se` and `reason`.

    `responses` are RESPONSES of one stage, and `comparisons` are COMPARISONS of their prompts. A judge's verdict on two
    responses is the mean over both orders, with half a win of each for a tie, and counts as one comparison. It does not
    count if an order has no verdict, since half a comparison favours a place. `strengths` says what the rewards are.
    Equal texts are one response and have the same reward. Without a reward, the reason is `nothing_to_compare` if all
    responses of the prompt are the same text, what was wrong with the first verdict that is missing, or `not_compared`.
    """
    parts = id_ranges(max(1, -(-responses["prompt_id"].n_unique() // AT_ONCE)))
    return pl.concat(
        [_rewards(part.of(responses.lazy()).collect(), part.of(comparisons.lazy()).collect()) for part in parts]
    ).sort(_RESPONSE)


def _rewards(responses: pl.DataFrame, comparisons: pl.DataFrame) -> pl.DataFrame:
    own = responses.select(*_RESPONSE, "response").with_columns(
        player=pl.col("response_idx").min().over("prompt_id", "response")
    )
    players = own.select("prompt_id", "player").unique().sort("prompt_id", "player")
    players = players.with_columns(place=pl.int_range(pl.len()).over("prompt_id"), players=pl.len().over("prompt_id"))
    won = matches(comparisons)
    sized = players.filter(pl.col("players") > 1).partition_by("players") if players.height else []
    fitted = pl.concat([pl.DataFrame(schema=_FITTED), *(_of_size(part, won) for part in sized)])
    found = own
    for table in (players.drop("place"), fitted, _missing(comparisons)):
        found = found.join(table, on=["prompt_id", "player"], how="left")
    reason = (
        pl.when(pl.col("players") == 1)
        .then(pl.lit(NOTHING_TO_COMPARE))
        .otherwise(pl.coalesce("missing", pl.lit(NOT_COMPARED)))
    )
    return found.select(*_RESPONSE, "reward", "reward_se", reason=pl.when(pl.col("reward").is_null()).then(reason))


def matches(comparisons: pl.DataFrame) -> pl.DataFrame:
    """One row per judge and two responses with a verdict in both orders: `prompt_id`, `judge`, `lower`, `upper`, `won`.

    `lower` and `upper` are their `response_idx`. `won` is the share of the lower one, in [0, 1].
    """
    score = pl.col("verdict").replace_strict(
        {"first": 1.0, "tie": 0.5, "second": 0.0}, default=None, return_dtype=pl.Float64
    )
    swapped = pl.col("first_idx") > pl.col("second_idx")
    return (
        comparisons.with_columns(
            lower=pl.min_horizontal("first_idx", "second_idx"),
            upper=pl.max_horizontal("first_idx", "second_idx"),
            won=pl.when(swapped).then(1 - score).otherwise(score),
        )
        .group_by(_MATCH)
        .agg(won=pl.col("won").mean(), both=(pl.col("won").count() == 2) & (swapped.sum() == 1))
        .filter("both")
        .select(*_MATCH, "won")
        .sort(_MATCH)
    )


def _missing(comparisons: pl.DataFrame) -> pl.DataFrame:
    """The first reason for which a response lacks a verdict: `prompt_id`, `player`, `missing`."""
    lost = comparisons.filter(pl.col("verdict").is_null())
    sides = [lost.with_columns(player=side) for side in ("first_idx", "second_idx")]
    return (
        pl.concat(sides)
        .sort("judge", "round", "first_idx", "second_idx")
        .group_by("prompt_id", "player")
        .agg(missing=pl.col("reason").first())
    )


def _of_size(players: pl.DataFrame, won: pl.DataFrame) -> pl.DataFrame:
    """The strengths in prompts that all have the same number of different responses."""
    count = int(players["players"][0])
    players = players.sort("prompt_id", "place")
    prompts = players.select("prompt_id").unique(maintain_order=True).with_row_index("row")
    place = players.select("prompt_id", "player", "place")
    counted = (
        won.join(prompts, on="prompt_id")
        .join(place.rename({"player": "lower", "place": "one"}), on=["prompt_id", "lower"])
        .join(place.rename({"player": "upper", "place": "other"}), on=["prompt_id", "upper"])
        .group_by("row", "one", "other")
        .agg(won=pl.col("won").sum(), lost=(1 - pl.col("won")).sum())
    )
    wins = np.zeros((prompts.height, count, count))
    row, one, other = (counted[name].to_numpy() for name in ("row", "one", "other"))
    wins[row, one, other] = counted["won"].to_numpy()
    wins[row, other, one] = counted["lost"].to_numpy()
    reward, error = strengths(wins)
    columns = {"reward": reward.ravel(), "reward_se": error.ravel()}
    return players.select("prompt_id", "player").with_columns(
        pl.Series(name, values).fill_nan(None) for name, values in columns.items()
    )
