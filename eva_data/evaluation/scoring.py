"""Lets verifiers and rewards score the answers to a set, and makes rows of EVALUATIONS."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eva_data.config import Consensus, EvaluationSet, Pairwise, Tournament, Verifier
from eva_data.errors import ConfigError
from eva_data.evaluation.judging import NO_ANSWER
from eva_data.iteration.heldout import heldout_carried
from eva_data.iteration.run import Run
from eva_data.iteration.score import Scales, reads_carried, scored_by
from eva_data.rewards.scorers import Scorer, reward_model, scorers_of
from eva_data.rewards.several import averaged, reward_scales


def verifier_of(run: Run, block: EvaluationSet) -> Scorer:
    """The function of the set, or the reward of the settings. Raise ConfigError if neither is a verifier."""
    function = block.function or run.config.reward
    if not isinstance(function, Verifier):
        raise ConfigError(
            f"the set `{block.name}` is judged by a verifier, but names no `function`, and `reward` is none: name one, "
            "or take the rule `own` with a judge"
        )
    (scorer,) = scorers_of(function)
    return scorer


def verified(run: Run, block: EvaluationSet, faced: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows of `faced` with the score of each answer by the function of the set, or by the reward of the settings."""
    scorer = verifier_of(run, block)
    rows = faced.with_columns(
        judge=pl.lit(scorer.fingerprint),
        order=pl.lit(None, pl.String),
        label=pl.lit(None, pl.String),
        raw=pl.lit(None, pl.String),
        reason=pl.when(pl.col("response").is_null()).then(pl.lit(NO_ANSWER)),
    )
    asked_rows = rows.filter(pl.col("reason").is_null()).sort("prompt_id", "turn", "sample")
    grouped = _by_prompt(run, [scorer], asked_rows)
    results = run.score(scorer, grouped, iteration=0, folder=name)
    flat = [score for _, scores in results for score in scores]
    answered = asked_rows.with_columns(
        score=pl.Series([score[0] for score in flat], dtype=pl.Float64),
        reason=pl.Series([score[1] for score in flat], dtype=pl.String),
    )
    unanswered = rows.filter(pl.col("reason").is_not_null()).with_columns(score=pl.lit(None, pl.Float64))
    return pl.concat([unanswered.select(answered.columns), answered])


def _by_prompt(run: Run, scorers: Sequence[Scorer], answers: pl.DataFrame) -> pl.DataFrame:
    """One row per prompt and turn with its answers, as rewards are asked."""
    rows = (
        answers.group_by("prompt_id", "turn", maintain_order=True)
        .agg(pl.col("prompt").first(), response_idx=pl.col("sample"), responses=pl.col("response"))
        .select("prompt_id", "prompt", "response_idx", "responses")
    )
    if not any(map(reads_carried, scorers)):
        return rows
    return rows.join(heldout_carried(run), on="prompt_id", how="left", maintain_order="left")


def rewards_of(run: Run, block: EvaluationSet) -> tuple[Scorer, ...]:
    """The rewards of a rule `reward` or `second_reward`. Raise ConfigError if the settings have none that can score.

    The second reward must be another one: a reward is no check of itself.
    """
    first = run.scorers if run.config.reward is not None else ()
    if block.rule == "reward":
        comparing = [each.block.backend for each in first if isinstance(each.block, Pairwise | Tournament | Consensus)]
        if not first or comparing:
            raise ConfigError(
                f"the set `{block.name}` has the rule `reward`, but `reward` is "
                f"{f'{comparing[0]}, which gives one answer no score' if comparing else 'missing'}: name a reward that "
                "scores"
            )
        return first
    second = run.config.evaluate.second_reward if run.config.evaluate else None
    if second is None:
        raise ConfigError(
            f"the set `{block.name}` has the rule `second_reward`, but `evaluate.second_reward` is missing: name a "
            "reward that trains nothing"
        )
    (scorer,) = scorers_of(second)
    if scorer.fingerprint in {each.fingerprint for each in first}:
        raise ConfigError(
            f"`evaluate.second_reward` is {scorer.fingerprint}, which is `reward` too and cannot be a check of itself: "
            "name another one"
        )
    return (scorer,)


def scored(run: Run, block: EvaluationSet, faced: pl.DataFrame, name: str) -> pl.DataFrame:
    """Rows of `faced` with the reward of each answer, in the form of `compared`.

    Several rewards are standardised by the scales of iteration 1 and averaged.
    """
    scorers = rewards_of(run, block)
    rows = faced.with_columns(
        judge=pl.lit(reward_model(scorers)),
        order=pl.lit(None, pl.String),
        label=pl.lit(None, pl.String),
        reason=pl.when(pl.col("response").is_null()).then(pl.lit(NO_ANSWER)),
    )
    open_rows = rows.filter(pl.col("reason").is_null()).sort("prompt_id", "turn", "sample")
    grouped = _by_prompt(run, scorers, open_rows)
    key = "reward" if block.rule == "reward" else "evaluate.second_reward"
    found = pl.concat(
        scored_by(run, scorer, grouped, None, stage="evaluate", name=f"{name}-{number}", iteration=0, key=key)
        for number, scorer in enumerate(scorers)
    ).collect()
    raw = found.group_by("prompt_id", "response_idx").agg(raw=pl.col("raw").drop_nulls().first())
    if len(scorers) > 1:
        found = averaged(found, _scales(run, found))
    scores = found.select("prompt_id", "response_idx", score="reward", why="reason").join(
        raw, on=["prompt_id", "response_idx"], how="left"
    )
    answered = (
        rows.join(scores, left_on=["prompt_id", "sample"], right_on=["prompt_id", "response_idx"], how="left")
        .with_columns(reason=pl.coalesce("reason", "why"))
        .drop("why")
    )
    return answered


def _scales(run: Run, found: pl.DataFrame) -> Scales:
    """The scales of iteration 1, so that the thetas' rewards compare; those of these answers without an iteration."""
    kept = run.store.manifest(1).reward_scales if 1 in run.store.iterations() else {}
    return kept or reward_scales(found)
