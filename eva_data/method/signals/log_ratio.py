"""Regret by log-probabilities of the solver and its reference (paper: H.3, equations 8 and 9; I, equations 10 and 11).

These are functions for whoever has the log-probabilities of whole responses, such as a training. A build does not ask
for them. All of them are null where a part is null or not finite. TRL's DPO logs `rewards/margins`, the mean of
`implied_advantage` over the pairs of a step.
"""

from __future__ import annotations

import polars as pl


def contrastive_ratio(
    chosen: pl.Expr, chosen_reference: pl.Expr, rejected: pl.Expr, rejected_reference: pl.Expr
) -> pl.Expr:
    """The log-ratio to the reference of the chosen response minus that of the rejected response (paper: equation 8).

    The arguments are log-probabilities of whole responses. DPO's loss of a pair is -log sigmoid(beta x this).
    """
    return _finite((chosen - chosen_reference) - (rejected - rejected_reference))


def implied_advantage(ratio: pl.Expr, beta: float) -> pl.Expr:
    """beta x the contrastive ratio (paper: equation 9): what `a_min` is if the solver is the optimum of its rewards.

    At the optimum the two agree. Elsewhere, `a_min` minus this is what is left to learn about the pair.
    """
    return _finite(beta * ratio)


def kl_regret(rewards: pl.Expr, log_ratios: pl.Expr, beta: float) -> pl.Expr:
    """How much more the optimum under the KL penalty would earn than the solver (paper: equations 10 and 11, negated).

    `rewards` and `log_ratios`, log pi(y|x) - log pi_base(y|x), are lists over responses that the solver sampled, in the
    same order. The optimum pi* is proportional to pi_base exp(r / beta), so its mean reward is a mean over the solver's
    samples with weights exp(r / beta - log-ratio), divided by their sum (self-normalised importance sampling).

    It is null with fewer than two responses, and if the lists differ in length. It is at least 0 if all log-ratios are
    equal, and then lies between 0 (beta large) and `a_avg` (beta small). Otherwise it may be negative: a solver that
    has moved too far from its base earns more than the optimum under the penalty.
    """
    logits = rewards / beta - log_ratios
    weights = (logits - logits.list.max()).list.eval(pl.element().exp())
    optimum = (rewards * weights).list.sum() / weights.list.sum()
    whole = (rewards.list.len() >= 2) & (rewards.list.len() == log_ratios.list.len())
    whole &= _all_finite(rewards) & _all_finite(log_ratios)
    return _finite(pl.when(whole).then(optimum - rewards.list.mean()))


def log_ratio_signals(scored: pl.LazyFrame, *, beta: float) -> pl.LazyFrame:
    """One row per prompt, ordered by `prompt_id`: `contrastive_ratio`, `implied_advantage` and `kl_regret`.

    `scored` has one row per response: `prompt_id`, `response_idx`, `reward`, and the log-probabilities `log_prob` of
    the solver and `log_prob_reference`. The pair of the ratio is the response with the highest and the response with
    the lowest reward; of equal rewards, the lower index is chosen and the higher index rejected. Responses with a null
    are left out. A prompt with fewer than two others has nulls.
    """
    parts = ("reward", "log_prob", "log_prob_reference")
    usable = pl.all_horizontal(pl.col(part).is_finite().fill_null(False) for part in parts)
    kept = scored.sort("prompt_id", -pl.col("reward"), "response_idx").with_columns(
        *(pl.when(usable).then(part).alias(part) for part in parts)
    )
    lists = kept.group_by("prompt_id", maintain_order=True).agg(
        pl.col(part).filter(pl.col(parts[0]).is_not_null()) for part in parts
    )
    several = pl.col("reward").list.len() >= 2
    first, last = (
        [pl.when(several).then(pl.col(part).list.get(place, null_on_oob=True)) for part in parts[1:]]
        for place in (0, -1)
    )
    ratio = contrastive_ratio(*first, *last)
    return lists.sort("prompt_id").select(
        "prompt_id",
        contrastive_ratio=ratio,
        implied_advantage=implied_advantage(ratio, beta),
        kl_regret=kl_regret(pl.col("reward"), pl.col("log_prob") - pl.col("log_prob_reference"), beta),
    )


def _finite(value: pl.Expr) -> pl.Expr:
    return pl.when(value.is_finite()).then(value)


def _all_finite(values: pl.Expr) -> pl.Expr:
    return values.list.eval(pl.element().is_finite().fill_null(False)).list.all()
