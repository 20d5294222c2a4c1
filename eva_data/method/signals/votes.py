"""The consensus of a prompt's responses: the answer that most of them give, and how many of them agree on it.

Where nobody knows the right answer, the majority stands for it (self-consistency, Wang et al. 2022, arXiv 2203.11171;
as a reward: TTRL, Zuo et al. 2025, arXiv 2504.16084). It is right as far as wrong answers scatter. If the solver makes
the same mistake again and again, the majority is that mistake, which only prompts with a known answer can show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from eva_data.config import Config, Consensus
from eva_data.errors import ConfigError
from eva_data.tables.ranges import id_ranges
from eva_data.tables.reasons import NO_CONSENSUS, TOO_EASY, TOO_HARD
from eva_data.tables.schemas import VOTES

LEAD = 2
"""By how many votes the consensus leads. Then it leads for each response without that response's own vote, too."""

AT_ONCE = 1_000_000
"""Prompts whose votes are counted together: about a gigabyte with six responses each."""

CONSENSUS = "consensus:"
"""The beginning of the name of such a reward in the column `reward_model`."""


@dataclass(frozen=True)
class Vote:
    """What makes a majority a consensus."""

    min_votes: int
    min_agreement: float


def vote_of(config: Config) -> Vote | None:
    """The vote of the settings; None if the reward is no consensus."""
    reward = config.reward
    return Vote(reward.min_votes, reward.min_agreement) if isinstance(reward, Consensus) else None


def votes() -> pl.Expr:
    """Whether a response (RESPONSES) votes: its answer could be read, and nothing says that it is incomplete."""
    complete = pl.col("finish_reason").is_null() | (pl.col("finish_reason") == "stop")
    return pl.col("answer").is_not_null() & complete


def counted(responses: pl.LazyFrame, vote: Vote) -> pl.LazyFrame:
    """The votes on each prompt: `prompt_id`, the columns VOTES, and `missing`, which says why there is no consensus.

    `responses` are RESPONSES of one stage. A prompt has a consensus if at least `min_votes` of its responses vote, if
    the most frequent answer has at least the share `min_agreement` of the votes, and if it leads by LEAD votes. The
    `agreement` is that share, in (0, 1]; it is null without votes, and there without a consensus as well. Prompts
    without any response by a consensus reward have no row.
    """
    scored = responses.filter(pl.col("reward_model").str.starts_with(CONSENSUS))
    prompts = scored.group_by("prompt_id").agg(pl.col("known_answer").first(), given=votes().sum())
    answers = scored.filter(votes()).group_by("prompt_id", "answer").agg(count=pl.len().cast(pl.Int32))
    first = pl.col("count").max()
    most = answers.group_by("prompt_id").agg(
        first=first,
        second=pl.col("count").sort(descending=True).get(1, null_on_oob=True).fill_null(0),
        top=pl.col("answer").filter(pl.col("count") == first).min(),
    )
    agreement = pl.col("first") / pl.col("given")
    lead = pl.col("first") - pl.col("second")
    missing = (
        pl.when(pl.col("given") < vote.min_votes)
        .then(pl.format(f"{NO_CONSENSUS}: {{}} of {vote.min_votes} votes", "given"))
        .when(lead == 0)
        .then(pl.lit(f"{NO_CONSENSUS}: a tie"))
        .when(lead < LEAD)
        .then(pl.lit(f"{NO_CONSENSUS}: one vote decides"))
        .when(agreement < vote.min_agreement)
        .then(pl.format(f"{NO_CONSENSUS}: an agreement of {{}}", agreement.round(2)))
    )
    columns = {
        "votes": pl.col("given"),
        "agreement": agreement,
        "consensus": pl.when(pl.col("missing").is_null()).then("top"),
        "known_answer": pl.col("known_answer"),
    }
    return (
        prompts.join(most, on="prompt_id", how="left")
        .with_columns(missing=missing)
        .select("prompt_id", *(columns[name].cast(dtype).alias(name) for name, dtype in VOTES.items()), "missing")
    )


def consensus_rewards(responses: pl.LazyFrame, vote: Vote) -> pl.LazyFrame:
    """The reward of each response: `prompt_id`, `response_idx`, `reward` and `reason`.

    The reward is 1 if the response's answer is the known answer, or else the consensus of the *other* responses, and 0
    if it is another answer or none. By LEAD, the consensus of the others is that of all, so a response never gets its
    reward from its own vote. A response that does not vote is scored like the others. The reward is null, with the
    reason `no_consensus`, if the prompt has neither a known answer nor a consensus.
    """
    right = pl.coalesce("known_answer", "consensus")
    reward = pl.when(right.is_not_null()).then(pl.col("answer").eq_missing(right).cast(pl.Float64))
    found = counted(responses, vote).drop("known_answer")
    return responses.join(found, on="prompt_id", how="left").select(
        "prompt_id", "response_idx", reward=reward, reason=pl.when(right.is_null()).then(pl.col("missing"))
    )


def in_parts(work: Callable[[pl.LazyFrame], pl.LazyFrame], responses: pl.DataFrame, *, prompts: int) -> pl.DataFrame:
    """What `counted` or `consensus_rewards` gives, computed for AT_ONCE prompts at a time, so that memory is bounded.

    `prompts` is about the number of prompts in `responses`.
    """
    ranges = id_ranges(max(1, -(-prompts // AT_ONCE)))
    return pl.concat([work(part.of(responses.lazy())).collect(engine="streaming") for part in ranges])


def with_votes(informativeness: pl.DataFrame, responses: pl.DataFrame, vote: Vote | None) -> pl.DataFrame:
    """INFORMATIVENESS of one stage with the columns VOTES, which stay null without a `vote`.

    A prompt without a reward, because its responses do not agree, has the reason `no_consensus` instead of the number
    of its rewards.
    """
    if vote is None:
        return informativeness
    found = in_parts(lambda part: counted(part, vote), responses, prompts=informativeness.height)
    joined = informativeness.drop(VOTES).join(found, on="prompt_id", how="left", maintain_order="left")
    unscored = pl.col("missing").is_not_null() & pl.col("known_answer").is_null()
    reason = pl.when(unscored).then(pl.lit(NO_CONSENSUS)).otherwise("reason")
    return joined.with_columns(reason=reason).select(informativeness.columns)


def outside(band: tuple[float, float]) -> pl.Expr:
    """`too_easy`, `too_hard`, `no_consensus` or null for a row of INFORMATIVENESS, by the agreement alone."""
    return (
        pl.when(pl.col("consensus").is_null())
        .then(pl.lit(NO_CONSENSUS))
        .when(pl.col("agreement") > band[1])
        .then(pl.lit(TOO_EASY))
        .when(pl.col("agreement") < band[0])
        .then(pl.lit(TOO_HARD))
    )


def banded(informativeness: pl.DataFrame, band: tuple[float, float]) -> tuple[pl.DataFrame, str]:
    """INFORMATIVENESS with the reasons of `sample.agreement_band`, and a sentence on how many prompts are inside.

    Raise ConfigError if no prompt was voted on, since the rewards then came from elsewhere.
    """
    if not informativeness["votes"].count():
        raise ConfigError(
            "`sample.agreement_band` is set, but the rewards of the estimated prompts are not from a vote: set "
            "`estimate.source: fresh`, so that the solver answers them and its responses vote"
        )
    table = informativeness.with_columns(reason=pl.coalesce("reason", outside(band)))
    why = informativeness.select(why=outside(band))["why"]
    counts = {reason: int((why == reason).sum()) for reason in (TOO_EASY, TOO_HARD, NO_CONSENSUS)}
    return table, (
        f"{table.height - sum(counts.values())} of {table.height} prompts are inside `sample.agreement_band` "
        f"{band[0]:g} to {band[1]:g}; {counts[TOO_EASY]} are too easy, {counts[TOO_HARD]} too hard, and "
        f"{counts[NO_CONSENSUS]} have no consensus"
    )


def anchored(table: pl.LazyFrame, key: pl.Expr, count: int, anchors: pl.LazyFrame, least: int) -> pl.Expr:
    """A condition that is true for `count` rows of `table` with the smallest `key`, at least `least` of them anchors.

    `anchors` holds the `prompt_id` of every anchor. If the smallest keys hold fewer, the anchors with the smallest keys
    take the places of the other rows with the largest. There are fewer anchors if the table has no more.
    """
    known = anchors.select("prompt_id", anchor=pl.lit(True)).unique("prompt_id")
    rows = table.select("prompt_id", key=key).join(known, on="prompt_id", how="left").sort("key", "prompt_id")
    order = rows.with_columns(pl.col("anchor").fill_null(False)).collect(engine="streaming")
    taken = order.head(count)
    if int(taken["anchor"].sum()) < least:
        first = order.filter("anchor").head(min(least, count))
        taken = pl.concat([first, order.filter(~pl.col("anchor")).head(count - first.height)])
    return pl.col("prompt_id").is_in(taken["prompt_id"].implode())
