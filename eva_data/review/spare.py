"""Finds pairs that the build rejected although the prompt has two different answers. People may still see a difference.

Pairing rejects such pairs because the rewards are equal or too close, or because the best reward is too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from eva_data.config import Config, TableModel
from eva_data.dataset.ordered import by_themselves, height_of, in_memory
from eva_data.dataset.store import Store
from eva_data.iteration.stages import recorded_fit
from eva_data.method.pair import ALL_EQUAL, BELOW_MARGIN, BEST_TOO_LOW, pair
from eva_data.method.signals.lengths import length_adjusted
from eva_data.tables.ids import uniform_draw
from eva_data.tables.ranges import IdRange, ranges_for
from eva_data.tables.schemas import PREFERENCES, conform

PROMPTS_AT_ONCE = 10_000
"""Prompts whose pairs are made together."""


def spare_pairs(built: Store, config: Config, iteration: int, pair_ids: Iterable[str] | None = None) -> pl.DataFrame:
    """PREFERENCES of the pairs that were rejected as `below_margin`, `best_below_min_chosen` or `all_rewards_equal`.

    With `pair_ids`, only these of them. `built` reads the build of the iteration, and `config` holds the settings of
    that build. The response with the higher reward is chosen; of answers with equal rewards, two are drawn by keyed
    hash. Only a text that a build could choose is chosen, and a prompt without such a text is left out.
    """
    wanted = is_among(pair_ids)
    return pl.concat(by_themselves(part.filter(wanted)) for part in spare_parts(built, config, iteration))


def is_among(pair_ids: Iterable[str] | None) -> pl.Expr:
    """Whether a pair is one of these; every pair is if there are none to name."""
    return (
        pl.lit(True) if pair_ids is None else pl.col("pair_id").is_in(pl.Series([*pair_ids], dtype=pl.String).implode())
    )


def spare_parts(built: Store, config: Config, iteration: int) -> Iterator[pl.DataFrame]:
    """What `spare_pairs` gives, range by range of the prompts' ids, at least one part."""
    rejects = built.scan("rejects", iteration).filter(pl.col("stage") == "pair").select("prompt_id", "reason").collect()
    fit = recorded_fit(built.manifest(iteration).lengths.get("respond"))
    given = built.scan("responses", iteration).filter(pl.col("stage").is_in(["respond", "contrast"]))
    low = rejects.filter(pl.col("reason").is_in([BELOW_MARGIN, BEST_TOO_LOW])).select("prompt_id")
    equal = rejects.filter(pl.col("reason") == ALL_EQUAL).select("prompt_id")
    open_ids = pl.concat([low, equal]).lazy()
    for part in ranges_for(height_of(built.scan("prompts", iteration)), PROMPTS_AT_ONCE):
        answers = length_adjusted(part.of(given), fit, seed=config.seed).join(open_ids, on="prompt_id", how="semi")
        yield _spare(built, config, iteration, part, in_memory(answers), low, equal)


def _spare(
    built: Store,
    config: Config,
    iteration: int,
    part: IdRange,
    answers: pl.DataFrame,
    low: pl.DataFrame,
    equal: pl.DataFrame,
) -> pl.DataFrame:
    drawn = uniform_draw(pl.col("response"), seed=config.seed, stage="review", iteration=iteration)
    finite = pl.col("reward").is_finite()
    found = [
        _pairs(built, config, iteration, part, answers.join(low, on="prompt_id", how="semi")),
        _with_scores(
            _pairs(
                built,
                config,
                iteration,
                part,
                answers.join(equal, on="prompt_id", how="semi").with_columns(reward=pl.when(finite).then(drawn)),
            ),
            answers,
        ),
    ]
    return pl.concat(found).sort("prompt_id")


def _pairs(built: Store, config: Config, iteration: int, part: IdRange, answers: pl.DataFrame) -> pl.DataFrame:
    ids = answers.select("prompt_id").unique().lazy()
    return pair(
        part.of(built.scan("prompts", iteration)).join(ids, on="prompt_id", how="semi"),
        answers.lazy(),
        part.of(built.scan("informativeness", iteration)),
        seed=config.seed,
        iteration=iteration,
        on_policy=not (isinstance(config.solver, TableModel) and iteration < config.first_answered),
        contrast=built.manifest(iteration).models.contrast is not None,
        rules=built.manifest(iteration).rules,
    ).preferences


def _with_scores(pairs: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """The pairs with the rewards of their answers in the place of the draws."""
    for side in ("chosen", "rejected"):
        rewards = answers.select("prompt_id", pl.col("response_idx").alias(f"{side}_idx"), real="reward")
        pairs = (
            pairs.join(rewards, on=["prompt_id", f"{side}_idx"], how="left", maintain_order="left")
            .with_columns(pl.col("real").alias(f"score_{side}"))
            .drop("real")
        )
    return conform(pairs, PREFERENCES)
