"""Merges people's answers: pure functions that make the tables of a revision from a build's tables and its reviews.

The verdict with the most votes wins. If several verdicts have the most votes, or if as many reviewers call the prompt
bad as call it good, nothing is decided, and the pair goes to `rejects` with the reason `reviewers_disagree`. A later
answer may still decide it, since every revision is made anew from the build and all reviews.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.tables.ids import last_turn
from eva_data.tables.schemas import ORDER, PREFERENCES, REJECTS, REVIEWS, conform

VERDICTS = ("first", "second", "tie", "both_bad")
QUALITIES = ("good", "unclear", "unanswerable", "unsafe")
"""What reviewers may say about a prompt, in order of gravity."""

DISAGREE = "reviewers_disagree"

COUNTED = (pl.col("status") == "submitted") & pl.col("verdict").is_not_null()
"""Whether an answer counts: drafts and discarded answers do not."""

_VOTES = pl.col("votes").fill_null(1)
"""How many answers a row of REVIEWS stands for."""

_BY_PERSON = pl.lit("human").alias("verdict_by")
_SIDES = ("chosen", "rejected")


@dataclass(frozen=True)
class Merged:
    """The tables of a revision."""

    preferences: pl.DataFrame
    rejects: pl.DataFrame


def decide(reviews: pl.DataFrame) -> pl.DataFrame:
    """What the reviewers say together: one row per pair with an answer that counts.

    Columns: `pair_id` and `prompt_id`; `reviewers`, the number of answers that count; `preferred_idx`, the response
    that most reviewers prefer, or null if another verdict or no single verdict has the most votes; `reason`, why there
    is no pair, or null if there is one; `bad_prompt`, whether more than half of the reviewers who answered the question
    about the prompt call it bad.
    """
    counted = reviews.filter(COUNTED)
    return (
        _verdicts(counted)
        .join(_prompts(counted), on="pair_id", how="left")
        .with_columns(
            bad_prompt=(2 * pl.col("bad") > pl.col("asked")).fill_null(False),
            split=(2 * pl.col("bad") == pl.col("asked")).fill_null(False),
        )
        .select(
            "pair_id",
            "prompt_id",
            "reviewers",
            pl.when(_reason().is_null()).then("vote").cast(pl.Int32).alias("preferred_idx"),
            _reason().alias("reason"),
            "bad_prompt",
        )
        .sort("pair_id")
    )


def votes_of(reviews: pl.DataFrame) -> pl.DataFrame:
    """REVIEWS without people: one row per pair and answer that counts, with the number of `votes` for it.

    `decide` gives the same result for these rows as for the single answers. Drafts, discarded answers and comments are
    left out.
    """
    about = [column for column in REVIEWS if column not in ("reviewer", "comment", "votes")]
    counted = reviews.filter(COUNTED).group_by(about).agg(votes=_VOTES.sum())
    return conform(counted, REVIEWS).sort(ORDER["reviews"], nulls_last=True)


def bad_prompts(reviews: pl.DataFrame) -> pl.Series:
    """Ids, ascending, of the prompts that people call bad. These prompts do not go into the next iteration."""
    return decide(reviews).filter("bad_prompt")["prompt_id"].unique().sort()


def merge(
    pairs: pl.DataFrame, spare: pl.DataFrame, rejects: pl.DataFrame, reviews: pl.DataFrame, *, iteration: int
) -> Merged:
    """Apply the verdicts of `reviews` to the PREFERENCES and REJECTS of a build.

    A decided pair has `verdict_by` human. If people prefer the other response, the sides of the pair are swapped
    together with their scores, so `score_chosen` may then be the lower score. A pair that people reject becomes a row
    of `rejects` with stage review; if the prompt is bad, all its pairs do. `spare` holds pairs that the build rejected,
    as PREFERENCES; if people prefer a response of such a pair, it becomes a pair and leaves `rejects`. All other pairs
    stay as they are.
    """
    decided = decide(reviews).drop("prompt_id")
    judged = pairs.join(decided, on="pair_id", how="left", maintain_order="left")
    # A bad prompt has no good pair, whichever of its pairs people saw.
    bad = pl.col("reason").filter("bad_prompt").min().over("prompt_id")
    judged = judged.with_columns(reason=pl.coalesce("reason", bad))
    rescued = spare.join(decided.filter(pl.col("preferred_idx").is_not_null()), on="pair_id", how="inner")
    settled = pl.concat([judged.filter(pl.col("reason").is_null()), rescued])
    refused = judged.filter(pl.col("reason").is_not_null()).with_columns(
        stage=pl.lit("review"), text=last_turn(pl.col("prompt")), iteration=pl.lit(iteration)
    )
    in_pair_stage = (pl.col("stage") == "pair") & pl.col("prompt_id").is_in(rescued["prompt_id"].implode())
    return Merged(
        preferences=conform(_sided(settled), PREFERENCES).sort(ORDER["preferences"]),
        rejects=pl.concat([rejects.filter(~in_pair_stage), conform(refused, REJECTS)]).sort(
            ORDER["rejects"], nulls_last=True
        ),
    )


def _sided(settled: pl.DataFrame) -> pl.DataFrame:
    """The pairs with their sides as people decided; pairs without a decision are unchanged."""
    swapped = pl.col("preferred_idx").eq_missing(pl.col("rejected_idx"))
    sides = [
        pl.when(swapped).then(pattern.format(other)).otherwise(pattern.format(side)).alias(pattern.format(side))
        for pattern in ("{}", "score_{}", "{}_idx", "{}_model")
        for side, other in zip(_SIDES, reversed(_SIDES), strict=True)
    ]
    by_people = pl.when(pl.col("preferred_idx").is_not_null()).then(_BY_PERSON).otherwise("verdict_by")
    return settled.with_columns(*sides, by_people.alias("verdict_by"))


def _verdicts(counted: pl.DataFrame) -> pl.DataFrame:
    """One row per pair: the `vote` with the most `votes`, the number of such votes (`winners`), and all `reviewers`.

    A vote is the index of the preferred response, as text, or tie or both_bad.
    """
    most = pl.col("votes") == pl.col("votes").max()
    return (
        counted.group_by("pair_id", "prompt_id", vote=vote())
        .agg(votes=_VOTES.sum())
        .group_by("pair_id", "prompt_id")
        .agg(
            reviewers=pl.col("votes").sum(),
            votes=pl.col("votes").max(),
            winners=most.sum(),
            vote=pl.col("vote").filter(most).min(),
        )
    )


def vote() -> pl.Expr:
    """What an answer says, whatever order was shown: the index of the preferred response, else the verdict."""
    return pl.coalesce(pl.col("preferred_idx").cast(pl.String), pl.col("verdict"))


def _prompts(counted: pl.DataFrame) -> pl.DataFrame:
    """One row per pair: how many answers there are about the prompt (`asked`), how many call it `bad`, and the
    `quality` that most of the latter name; of a tie, the gravest."""
    return (
        counted.filter(pl.col("prompt_quality").is_not_null())
        .with_columns(quality=pl.col("prompt_quality").cast(pl.Enum(QUALITIES)))
        .group_by("pair_id", "quality")
        .agg(votes=_VOTES.sum())
        .sort("votes", "quality", descending=True)
        .group_by("pair_id", maintain_order=True)
        .agg(
            asked=pl.col("votes").sum(),
            bad=pl.col("votes").filter(pl.col("quality") != "good").sum(),
            quality=pl.col("quality").filter(pl.col("quality") != "good").first().cast(pl.String),
        )
    )


def _reason() -> pl.Expr:
    """Why a pair is rejected, or null if it is not. The numbers of votes follow the colon as particulars."""
    return (
        pl.when("bad_prompt")
        .then(pl.format("prompt_{}: {} of {} reviewers", "quality", "bad", "asked"))
        .when("split")
        .then(pl.format(DISAGREE + ": {} of {} say that the prompt is {}", "bad", "asked", "quality"))
        .when(pl.col("winners") > 1)
        .then(pl.format(DISAGREE + ": {} verdicts have {} of {} votes each", "winners", "votes", "reviewers"))
        .when(pl.col("vote").is_in(["tie", "both_bad"]))
        .then(pl.format("{}: {} of {} reviewers", "vote", "votes", "reviewers"))
    )
