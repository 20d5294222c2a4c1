"""Computes informativeness and preference pairs of X_t from the solver's scored responses."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.config import Config
from eva_data.method.estimate import informativeness
from eva_data.method.pair import Paired, pair
from eva_data.method.signals.band import Band
from eva_data.method.signals.lengths import LengthFit, length_adjusted, length_fit, pair_gaps
from eva_data.method.signals.own_metric import own_metric
from eva_data.method.signals.votes import vote_of, with_votes
from eva_data.method.solved import Bar, bar_of
from eva_data.tables.flow import Flow
from eva_data.tables.rules import RULES


@dataclass(frozen=True)
class Outcome:
    """The tables that follow from prompts and their scored responses."""

    informativeness: pl.DataFrame
    """INFORMATIVENESS rows of the respond stage."""
    preferences: pl.DataFrame
    rejects: pl.DataFrame
    """REJECTS of the pair stage."""
    flow: Flow
    gaps: tuple[pl.DataFrame, pl.DataFrame] | None = None
    """What `pair_gaps` gives for the pairs by the given rewards and for those by the adjusted ones; None if nothing was
    adjusted."""


def lengths_of(config: Config, responses: pl.DataFrame | pl.LazyFrame) -> LengthFit | None:
    """The regression by which the rewards of RESPONSES of one stage are adjusted; None if they are used as given."""
    return length_fit(responses, seed=config.seed) if config.estimate.adjust_length else None


def outcome_of(
    config: Config,
    iteration: int,
    prompts: pl.DataFrame,
    responses: pl.DataFrame,
    *,
    n: int | None,
    on_policy: bool,
    lengths: LengthFit | None = None,
    contrast: pl.DataFrame | None = None,
    bar: Bar | None = None,
    band: tuple[float, float] | None = None,
    rules: int = RULES,
) -> Outcome:
    """Informativeness and pairs of X_t. `responses` are the rows of the respond stage.

    `n` is the number of responses that were asked for per prompt; None takes all that a prompt has. Prompts below the
    `bar` are unsolved, and those outside the `band` of pass rates too easy or too hard; offline both are told when
    prompts are estimated. `rules` is the version by which both are made.
    `lengths` is what `lengths_of` gives for these responses. `contrast` are RESPONSES of a weaker model to pair the
    solver's with. Informativeness is that of the solver's responses alone: it says what the solver can still learn, and
    a gap to another model would only say how far apart the two are.
    """
    given, responses = responses, length_adjusted(responses.lazy(), lengths, seed=config.seed).collect()
    counted = config.estimate.count_truncated
    informative = informativeness(
        responses.lazy(),
        prompt_ids=prompts.lazy().select("prompt_id"),
        stage="respond",
        iteration=iteration,
        n=int(responses["response_idx"].n_unique()) if n is None else n,
        seed=config.seed,
        count_truncated=counted,
        unequal=config.estimate.unequal,
        own=own_metric(config.estimate.metric),
        bar=bar,
        rules=rules,
    ).collect()
    informative = with_votes(informative, responses, vote_of(config))
    if band is not None:
        reason = pl.coalesce("reason", Band(*band, relative=False).reason())
        informative = informative.with_columns(reason=reason)
    paired = _paired(config, iteration, prompts, responses, informative, on_policy, contrast, rules)
    compared = None
    if lengths is not None:
        before = _paired(config, iteration, prompts, given, informative, on_policy, contrast, rules)
        compared = pair_gaps(before.preferences, given), pair_gaps(paired.preferences, given)
    flow = Flow("pair", "prompts", prompts.height, paired.preferences["prompt_id"].n_unique(), paired.rejects.height)
    return Outcome(informative, paired.preferences, paired.rejects, flow, compared)


def _paired(
    config: Config,
    iteration: int,
    prompts: pl.DataFrame,
    responses: pl.DataFrame,
    informative: pl.DataFrame,
    on_policy: bool,
    contrast: pl.DataFrame | None,
    rules: int,
) -> Paired:
    return pair(
        prompts.lazy(),
        (responses if contrast is None else pl.concat([responses, contrast])).lazy(),
        informative.lazy(),
        margin=config.pair.margin,
        min_chosen=config.pair.min_chosen,
        rule=config.pair.rule,
        below=config.pair.below or 1,
        per_prompt=config.pair.per_prompt,
        max_length_gap=config.pair.max_length_gap,
        max_similarity=config.pair.max_similarity,
        seed=config.seed,
        iteration=iteration,
        on_policy=on_policy,
        contrast=contrast is not None,
        rules=rules,
    )


def bar_online(config: Config, prompts: pl.DataFrame, responses: pl.DataFrame) -> Bar | None:
    """The bar for the prompts of an online run, by its last responses to each.

    During the training, the bar was by what had been seen until then.
    """
    of_seeds = responses.join(prompts.filter(pl.col("origin") == "seed"), on="prompt_id", how="semi")
    best = of_seeds.group_by("prompt_id", maintain_order=True).agg(pl.col("reward").max())["reward"]
    assert config.model_solver is not None
    return bar_of(config, responses["reward"], best, responses=config.model_solver.responses)
