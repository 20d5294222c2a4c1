"""Estimate: the informativeness of each prompt from the solver's scored responses (paper: 3.3.2, table 3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import polars as pl

from eva_data.errors import DataError
from eva_data.method.pair import noise
from eva_data.method.signals.own_metric import OwnMetric
from eva_data.method.solved import Bar
from eva_data.tables.ids import uniform_draw
from eva_data.tables.metrics import METRICS, var
from eva_data.tables.reasons import UNSOLVED
from eva_data.tables.rules import RULES
from eva_data.tables.schemas import INFORMATIVENESS, OWN_METRIC, VOTES

NO_RESPONSE = "no_response"
TRUNCATED = "fewer_than_two_complete_responses"
FEWER_THAN_TWO = "fewer_than_two_finite_rewards"

_MODELS = ("solver", "reward_model")


def informativeness(
    responses: pl.LazyFrame,
    *,
    prompt_ids: pl.LazyFrame | None = None,
    stage: Literal["estimate", "respond"],
    iteration: int,
    n: int,
    seed: int,
    count_truncated: bool = False,
    unequal: Literal["draw", "refuse"] = "draw",
    own: OwnMetric | None = None,
    bar: Bar | None = None,
    rules: int = RULES,
) -> pl.LazyFrame:
    """All metrics of each prompt: INFORMATIVENESS, with VOTES, `weight`, `draw` and `selected` null.

    One row per prompt in `responses` or in the column `prompt_id` of `prompt_ids`, so that a prompt without any
    response is not lost. `responses` (RESPONSES) holds only the rows to count, of whatever stage. The row of a prompt
    depends on that prompt alone, so the table can be made range by range (`refuse` then compares only the prompts of a
    range).

    A response counts if its reward is finite and, unless `count_truncated`, it was not cut at max_tokens. Metrics grow
    with the number of rewards, so all prompts are compared at the same number, `n`. If a prompt has more, n of them
    are drawn by keyed hash of (prompt, response_idx). A prompt with fewer keeps all, and `n_scored` says how many: to
    cut every prompt to the smallest number would lose more than it corrects. `unequal="refuse"` raises DataError
    instead, unless all prompts have the same number.

    `reason` says why every metric is null, else it is null: `no_response`; `fewer_than_two_complete_responses` (there
    are two or more finite rewards, but of responses that were cut); `fewer_than_two_finite_rewards`. `inv_avg` and
    `inv_a_min` can be null on their own (`metrics`). `reward_max`, `reward_min` and `reward_mean` are null if no reward
    counts, and `reward_var` with fewer than two. A prompt whose rewards do not reach the `bar` has its metrics, and the
    `reason` unsolved: it is not drawn. `solver` and `reward_model` are null if a prompt has no response or
    its responses name several. A metric in `own` fills the columns OWN_METRIC.

    Rewards that all differ by no more than `noise` are equal, as they are to `pair`: the metrics are those of the
    smallest of them. By version 1 of the `rules` they are compared bit for bit.
    """
    rows = _rows(responses, prompt_ids, count_truncated)
    if unequal == "refuse":
        _require_equal(rows)
    glance = _glance(responses)
    rewards = pl.col("reward").filter("counts")
    if glance.last_idx >= n:
        response = pl.concat_str("prompt_id", pl.lit("\x1f"), "response_idx")
        draw = uniform_draw(response, seed=seed, stage="estimate", iteration=iteration)
        rows = rows.with_columns(draw=draw)
        rewards = rewards.sort_by(pl.col("draw").filter("counts")).head(n)
    per_prompt = _per_prompt(rows, rewards, glance).with_columns(compared=without_noise(pl.col("rewards"), rules))
    solved = pl.lit(True) if bar is None else bar.reached(pl.col("rewards"), rules)
    return _measured(per_prompt, glance, own, solved, stage=stage, iteration=iteration)


def without_noise(rewards: pl.Expr, rules: int = RULES) -> pl.Expr:
    """Sorted rewards as the metrics see them: where all are equal up to noise, the smallest stands for each."""
    lowest, highest = rewards.list.first(), rewards.list.last()
    if rules < 2:
        return rewards
    equal = highest - lowest <= noise(lowest, highest, rules)
    return pl.when(equal).then(rewards * 0.0 + lowest).otherwise(rewards)


def _rows(responses: pl.LazyFrame, prompt_ids: pl.LazyFrame | None, count_truncated: bool) -> pl.LazyFrame:
    """One row per response, and an empty row per given prompt; `counts` says if a row enters the metrics."""
    finite = pl.col("reward").is_finite().fill_null(False)
    complete = pl.lit(True) if count_truncated else pl.col("finish_reason").ne_missing("length")
    columns = responses.select("prompt_id", "response_idx", "reward", *_MODELS, finite=finite, counts=finite & complete)
    if prompt_ids is None:
        return columns
    given = prompt_ids.select("prompt_id", finite=pl.lit(False), counts=pl.lit(False))
    return pl.concat([columns, given], how="diagonal")


def _counts(rows: pl.LazyFrame) -> pl.LazyFrame:
    """One row per number `n` of responses that count: how many `prompts` have it."""
    per_prompt = rows.group_by("prompt_id").agg(pl.col("counts").sum().alias("n"))
    return per_prompt.group_by("n").agg(pl.len().alias("prompts"))


def refuse_unequal(responses: pl.LazyFrame, prompt_ids: pl.LazyFrame, *, count_truncated: bool) -> None:
    """Raise the DataError of `informativeness` for a table that is then made range by range."""
    _require_equal(_rows(responses, prompt_ids, count_truncated))


def _require_equal(rows: pl.LazyFrame) -> None:
    counts = _counts(rows).sort("n").collect(engine="streaming")
    if counts.height > 1:
        found = ", ".join(f"{prompts} prompts with {n}" for n, prompts in counts.iter_rows())
        raise DataError(
            f"the prompts have unequal numbers of responses that count: {found}; expected one number: "
            "complete the responses, or set `estimate.unequal: draw`"
        )


@dataclass(frozen=True)
class _Glance:
    """What a cheap first look finds out. It spares most tables the draw of n and the models prompt by prompt."""

    last_idx: int
    """The highest response_idx, counted from 0. If it is below n, no prompt has more than n responses."""
    only: Mapping[str, str]
    """The models that all responses share, by column."""


def _glance(responses: pl.LazyFrame) -> _Glance:
    models = pl.col(_MODELS)
    found = (
        responses.select(
            pl.col("response_idx").max(),
            models.min(),
            models.max().name.suffix("_last"),
            models.null_count().name.suffix("_nulls"),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    shared = [m for m in _MODELS if found[m] == found[f"{m}_last"] and not found[f"{m}_nulls"]]
    last_idx = found["response_idx"]
    return _Glance(
        last_idx=-1 if last_idx is None else last_idx,
        only={model: found[model] for model in shared if found[model] is not None},
    )


def _per_prompt(rows: pl.LazyFrame, rewards: pl.Expr, glance: _Glance) -> pl.LazyFrame:
    """One row per prompt with its `rewards` in ascending order."""
    several = [model for model in _MODELS if model not in glance.only]
    return (
        # On sorted keys the engine groups runs instead of hashing: four times as fast, in half the memory.
        # Rows from a canonical file are sorted already, and then this costs one comparison each.
        rows.sort("prompt_id")
        .group_by("prompt_id")
        .agg(
            rewards.alias("rewards"),
            pl.col("finite").sum(),
            pl.col("response_idx").count().alias("responses"),
            pl.col(several).min(),
            pl.col(several).max().name.suffix("_last"),
        )
        .with_columns(pl.col("rewards").list.sort())
    )


def _model(model: str, glance: _Glance) -> pl.Expr:
    if model in glance.only:
        return pl.when(pl.col("responses") > 0).then(pl.lit(glance.only[model]))
    return pl.when(pl.col(model) == pl.col(f"{model}_last")).then(model)


def _measured(
    prompts: pl.LazyFrame, glance: _Glance, own: OwnMetric | None, solved: pl.Expr, *, stage: str, iteration: int
) -> pl.LazyFrame:
    rewards, compared = pl.col("rewards"), pl.col("compared")
    n_scored = rewards.list.len()
    reason = (
        pl.when((n_scored >= 2) & ~solved)
        .then(pl.lit(UNSOLVED))
        .when(n_scored >= 2)
        .then(None)
        .when(pl.col("responses") == 0)
        .then(pl.lit(NO_RESPONSE))
        .when(pl.col("finite") >= 2)
        .then(pl.lit(TRUNCATED))
        .otherwise(pl.lit(FEWER_THAN_TWO))
    )
    columns = {
        "stage": pl.lit(stage),
        "prompt_id": pl.col("prompt_id"),
        "n_scored": n_scored,
        "reward_max": rewards.list.max(),
        "reward_min": rewards.list.min(),
        "reward_mean": rewards.list.mean(),
        "reward_var": var(compared),
        **{name: metric(compared) for name, metric in METRICS.items()},
        **dict(zip(OWN_METRIC, _own(own, compared), strict=True)),
        **dict.fromkeys(VOTES, pl.lit(None)),
        "reason": reason,
        "weight": pl.lit(None),
        "draw": pl.lit(None),
        "selected": pl.lit(None),
        **{model: _model(model, glance) for model in _MODELS},
        "iteration": pl.lit(iteration),
    }
    return prompts.select(columns[name].cast(dtype).alias(name) for name, dtype in INFORMATIVENESS.items()).sort(
        "prompt_id"
    )


def _own(own: OwnMetric | None, rewards: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """The columns OWN_METRIC; null if there is no such metric."""
    return (pl.lit(None), pl.lit(None)) if own is None else (own.value(rewards), pl.lit(own.name))
