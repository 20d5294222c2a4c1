"""Combines several reward models: each is standardised by its own constants, then they are averaged.

Rank averages would destroy the range that `a_min` measures. The constants are computed once, from iteration 1, and
frozen in its manifest. If they were new in every iteration, rewards of different iterations could not be compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from eva_data.errors import DataError
from eva_data.method.pair import NOISE

Scales = Mapping[str, Sequence[float]]
"""Reward model -> [mean, deviation], ready for JSON."""

_RESPONSE = ["prompt_id", "response_idx"]


def reward_scales(scored: pl.DataFrame) -> dict[str, list[float]]:
    """Mean and population standard deviation of the finite rewards of each reward model, in the order of names.

    `scored` has the columns `reward_model` and `reward`, in any row order. Raise DataError if a model has no finite
    reward, or if all its rewards are equal up to noise (see `pair`).
    """
    reward = pl.col("reward")
    finite = reward.filter(reward.is_finite()).sort()
    # Differences to the smallest reward are used, so that equal rewards have a deviation of exactly 0.
    above = finite - finite.min()
    constants = (
        scored.group_by("reward_model")
        .agg(mean=finite.min() + above.mean(), deviation=above.std(ddof=0))
        .sort("reward_model")
    )
    scales: dict[str, list[float]] = {}
    for name, mean, deviation in constants.iter_rows():
        if mean is None:
            raise DataError(f"the reward model `{name}` scored no response at all: see its reasons, or take it out")
        # The difference of 0.1 + 0.2 and 0.3 is rounding. Divided by such a deviation, rounding would become rewards.
        scales[name] = [mean, deviation if deviation > NOISE * max(1.0, abs(mean)) else 0.0]
    check_scales(scales)
    return scales


def check_scales(scales: Scales) -> None:
    """Raise DataError if a reward model cannot be standardised."""
    for name, (_, deviation) in scales.items():
        if not 0 < deviation < float("inf"):
            raise DataError(
                f"the rewards of the reward model `{name}` have the deviation {deviation:g}, so it tells no response "
                "from another and cannot be standardised: take it out of `reward.rewards`, or score more prompts"
            )


def averaged(scored: pl.DataFrame, scales: Scales) -> pl.DataFrame:
    """The mean of a response's standardised rewards: one row per response, in the order of (prompt_id, response_idx).

    `scored` has one row per response and reward model: `prompt_id`, `response_idx`, `reward_model`, `reward`, `reason`.
    If any model of `scales` could not score a response, its reward is null, and `reason` is
    `unscored_by: <model>: <its reason>` for the first such model by name. Raise DataError for a model that is not in
    `scales`, and for a deviation of 0.
    """
    check_scales(scales)
    unknown = set(scored["reward_model"].unique()) - set(scales)
    if unknown:
        raise DataError(
            f"no mean and deviation are known of the reward model `{min(unknown)}`, only of "
            f"{', '.join(f'`{name}`' for name in sorted(scales))}: they are frozen in iteration 1's manifest, so a "
            "reward model that is added or changed needs a dataset of its own"
        )
    names = sorted(scales)
    table = scored.select(_RESPONSE).unique().sort(_RESPONSE)
    for number, name in enumerate(names):
        one = _standardised(scored.filter(pl.col("reward_model") == name), number, *scales[name])
        table = table.join(one, on=_RESPONSE, how="left", validate="1:1", maintain_order="left")
    rewards = [pl.col(f"reward_{number}") for number in range(len(names))]
    reasons = [
        pl.when(reward.is_null()).then(
            pl.lit(f"unscored_by: {name}: ") + pl.col(f"reason_{number}").fill_null("not_scored")
        )
        for number, (name, reward) in enumerate(zip(names, rewards, strict=True))
    ]
    complete = pl.all_horizontal(reward.is_not_null() for reward in rewards)
    return table.select(
        *_RESPONSE, reward=pl.when(complete).then(pl.mean_horizontal(rewards)), reason=pl.coalesce(reasons)
    )


def _standardised(scored: pl.DataFrame, number: int, mean: float, deviation: float) -> pl.DataFrame:
    """One row per response: `reward_<number>`, null if it is not finite, and `reason_<number>`."""
    finite = pl.col("reward").is_finite().fill_null(False)
    reason = pl.col("reason").cast(pl.String)
    return scored.select(
        *_RESPONSE,
        pl.when(finite).then((pl.col("reward") - mean) / deviation).alias(f"reward_{number}"),
        pl.when(pl.col("reward").is_not_null() & ~finite)
        .then(pl.lit("not_finite"))
        .otherwise(reason)
        .alias(f"reason_{number}"),
    )
