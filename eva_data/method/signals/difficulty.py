"""Difficulty as active learning and curriculum learning measure it: by answers, pass rates and progress.

`answer_entropy` and `disagreement` need no reward at all. `pass_rate_closeness` takes the rewards of a prompt. So it
can stand in the settings: `estimate.metric: "eva_data.method.signals.difficulty:pass_rate_closeness"`.
"""

from __future__ import annotations

import polars as pl

from eva_data.method.pair import in_single_spaces


def answer_entropy(answers: pl.Expr) -> pl.Expr:
    """Entropy of a list of answers, in nats: 0 if all are equal, log n if all n differ; null with fewer than two.

    This is the vote entropy of query by committee (Dagan and Engelson 1995; Settles 2009, section 3.2); the committee
    is the samples of one solver. Nulls in the list do not count.
    """
    votes = answers.list.drop_nulls()
    entropy = votes.list.eval(pl.element().value_counts().struct.field("count").entropy(normalize=True)).list.first()
    return pl.when(votes.list.len() >= 2).then(entropy)


def disagreement(answers: pl.Expr) -> pl.Expr:
    """Share of the pairs of answers that differ, in [0, 1]; null with fewer than two answers.

    For two answers this is the disagreement of query by committee (Seung, Opper and Sompolinsky 1992). It is the
    unbiased estimate of 1 - sum of squared shares (Simpson 1949), so that it does not grow with the number of samples.
    """
    votes = answers.list.drop_nulls()
    number = votes.list.len()
    equal = votes.list.eval((pl.element().value_counts().struct.field("count") ** 2).sum()).list.first()
    ordered = (number * number).cast(pl.Float64)
    return pl.when(number >= 2).then((ordered - equal) / (ordered - number))


def pass_rate_closeness(rewards: pl.Expr) -> pl.Expr:
    """1 - |2 p - 1|, where p is the mean of rewards in [0, 1]: 1 at a pass rate of 1/2, and 0 at 0 and 1.

    Prompts that are solved about half of the time teach the most: the learnability p (1 - p) orders prompts alike
    (Tzannetos et al. 2023, arXiv 2304.12877; Rutherford et al. 2024, arXiv 2408.15099). It is null with fewer than two
    rewards, and if a reward is outside [0, 1], because then the mean is no pass rate.
    """
    rate = rewards.list.mean()
    is_rate = (rewards.list.len() >= 2) & (rewards.list.min() >= 0) & (rewards.list.max() <= 1)
    return pl.when(is_rate).then(1 - (2 * rate - 1).abs())


def learning_progress(now: pl.Expr, before: pl.Expr) -> pl.Expr:
    """Absolute change of a prompt's mean reward between two iterations; null if either is null.

    A prompt whose reward moves, in either direction, is being learned or forgotten (Oudeyer, Kaplan and Hafner 2007;
    Graves et al. 2017, arXiv 1704.03003; Matiisen et al. 2017, arXiv 1707.00183).
    """
    return (now - before).abs()


def difficulty(
    responses: pl.LazyFrame, earlier: pl.LazyFrame | None = None, *, answer: pl.Expr | None = None
) -> pl.LazyFrame:
    """One row per prompt, ordered by `prompt_id`, with the four signals of this module.

    `responses` and `earlier` have one row per response (RESPONSES) of one stage, of iteration t and of an earlier one.
    `answer` is what is compared, an expression over the columns of `responses`; the default is the text with its white
    space in single spaces. `learning_progress` is null without `earlier`, and for prompts that it does not hold.
    """
    compared = in_single_spaces(pl.col("response")) if answer is None else answer
    reward = pl.col("reward")
    of_prompt = responses.group_by("prompt_id").agg(answers=compared, rewards=reward.filter(reward.is_finite()).sort())
    means = pl.LazyFrame(schema={"prompt_id": pl.String, "before": pl.Float64})
    if earlier is not None:
        means = earlier.group_by("prompt_id").agg(before=reward.filter(reward.is_finite()).sort().mean())
    return (
        of_prompt.join(means, on="prompt_id", how="left")
        .sort("prompt_id")
        .select(
            "prompt_id",
            answer_entropy=answer_entropy(pl.col("answers")),
            disagreement=disagreement(pl.col("answers")),
            pass_rate_closeness=pass_rate_closeness(pl.col("rewards")),
            learning_progress=learning_progress(pl.col("rewards").list.mean(), pl.col("before")),
        )
    )
