"""Pair: the best and the worst response of each prompt become a preference pair (paper: 3.3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.identify import pair_id, uniform_draw
from eva_data.records import METRICS, ORDER, PREFERENCES, REJECTS, conform

NO_SCORED = "no_scored_response"
ONE_DISTINCT = "one_distinct_response"
ALL_EQUAL = "all_rewards_equal"
BEST_INCOMPLETE = "best_is_truncated_or_empty"
BELOW_MARGIN = "below_margin"

_TEXT_LENGTH = 2000


@dataclass(frozen=True)
class Paired:
    """Every prompt, in exactly one of the two."""

    preferences: pl.DataFrame
    """PREFERENCES."""
    rejects: pl.DataFrame
    """REJECTS of stage pair; `text` is the prompt's last user turn."""


def pair(
    prompts: pl.LazyFrame,
    responses: pl.LazyFrame,
    informativeness: pl.LazyFrame,
    *,
    margin: float | None = None,
    seed: int,
    iteration: int,
    on_policy: bool,
) -> Paired:
    """Chosen is the response of the highest reward, rejected that of the lowest, for each of `prompts`.

    `prompts` is X_t (PROMPTS); of `responses` (RESPONSES) and `informativeness` (INFORMATIVENESS) the rows of
    stage respond are read. Candidates are the texts with a finite reward, but those of failed calls
    (`finish_reason` error). Equal texts are one candidate: its reward is the mean of theirs, its index the
    lowest, and it is complete if all of them are. Only a complete text is chosen: not blank, and not
    cut short (`finish_reason` stop, or null where unknown); any candidate may be rejected. Ties are broken by
    keyed hash of the text.

    A prompt without a pair goes to `rejects`, with the first reason that holds: `no_scored_response`;
    `one_distinct_response`; `all_rewards_equal`; `best_is_truncated_or_empty`, no complete text has more than
    the lowest reward; `below_margin`, the rewards differ by less than `margin`.

    The texts of the given responses are held in memory; large tables are paired by `ranges` of `prompt_id`,
    with the same result.
    """
    answers = _answers(responses, seed, iteration)
    verdicts = _verdicts(prompts.drop("iteration"), _with_texts(_ranked(answers), answers), margin)
    metrics = informativeness.filter(pl.col("stage") == "respond").select("prompt_id", *METRICS)
    return Paired(
        preferences=_preferences(verdicts, metrics, iteration, on_policy),
        rejects=_rejects(verdicts, iteration),
    )


def _answers(responses: pl.LazyFrame, seed: int, iteration: int) -> pl.DataFrame:
    """One row per response that is a candidate, those of one prompt together."""
    scored = pl.col("reward").is_finite() & pl.col("response").is_not_null()
    failed = pl.col("finish_reason").eq_missing("error")
    stopped = pl.col("finish_reason").is_null() | (pl.col("finish_reason") == "stop")
    blank = pl.col("response").str.strip_chars() == ""
    answers = (
        responses.filter((pl.col("stage") == "respond") & scored & ~failed)
        .select(
            "prompt_id",
            "response_idx",
            "response",
            "reward",
            complete=stopped & ~blank,
            draw=uniform_draw(pl.col("response"), seed=seed, stage="pair", iteration=iteration),
        )
        .collect(engine="streaming")
    )
    return _in_order(answers)


def _ranked(answers: pl.DataFrame) -> pl.DataFrame:
    """One row per prompt with a candidate, its responses named by their rows in `answers`.

    Columns: `texts` (how many distinct ones), `best` (the highest reward, complete or not), `chosen` and
    `score_chosen` (the best complete candidate; null where none is), `rejected` and `score_rejected`.
    """
    ranking = _candidates(answers).sort("prompt", "reward", "draw", descending=[False, True, False])
    complete = pl.col("complete")
    return ranking.group_by("prompt", maintain_order=True).agg(
        texts=pl.len(),
        best=pl.col("reward").first(),
        chosen=pl.col("row").filter(complete).first(),
        score_chosen=pl.col("reward").filter(complete).first(),
        rejected=pl.col("row").last(),
        score_rejected=pl.col("reward").last(),
    )


def _candidates(answers: pl.DataFrame) -> pl.DataFrame:
    """One row per distinct text of a prompt: `prompt`, `draw`, `row` in answers, `reward`, `complete`.

    Numbers stand in for prompts and texts: they sort and group ten times as fast as strings. Two texts of one
    prompt share a 53-bit draw once in 10^14 prompts, and then pass as one.
    """
    rows = answers.select(
        "response_idx",
        "draw",
        "reward",
        "complete",
        row=pl.int_range(pl.len(), dtype=pl.UInt32),
        prompt=pl.col("prompt_id").rle_id(),
    ).sort("prompt", "draw", "response_idx")
    as_before = (pl.col("prompt") == pl.col("prompt").shift()) & (pl.col("draw") == pl.col("draw").shift())
    rows = rows.with_columns(as_before=as_before.fill_null(False))
    repeated = pl.col("as_before") | pl.col("as_before").shift(-1, fill_value=False)
    lowest = pl.col("reward").min()
    merged = (
        rows.with_columns(text=(~pl.col("as_before")).cum_sum())
        .filter(repeated)
        .group_by("text", maintain_order=True)
        .agg(
            pl.col("prompt", "draw", "row").first(),
            pl.col("complete").all(),
            # A plain mean of equal rewards may differ from them in the last bit, and so make a pair of a tie.
            reward=lowest + (pl.col("reward") - lowest).mean(),
        )
    )
    columns = ("prompt", "draw", "row", "reward", "complete")
    return pl.concat([rows.filter(~repeated).select(columns), merged.select(columns)])


def _with_texts(ranked: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """`ranked` with `prompt_id`, and with indices and texts in the place of rows."""
    chosen, rejected = ranked["chosen"], ranked["rejected"]
    return ranked.drop("prompt").with_columns(
        prompt_id=answers["prompt_id"].gather(rejected),
        chosen_idx=answers["response_idx"].gather(chosen),
        rejected_idx=answers["response_idx"].gather(rejected),
        chosen=answers["response"].gather(chosen),
        rejected=answers["response"].gather(rejected),
    )


def _verdicts(prompts: pl.LazyFrame, ranked: pl.DataFrame, margin: float | None) -> pl.DataFrame:
    """`prompts` in canonical order with what `ranked` says of each, and a `reason` where that is no pair."""
    gap = pl.col("score_chosen") - pl.col("score_rejected")
    reason = (
        pl.when(pl.col("texts").is_null())
        .then(pl.lit(NO_SCORED))
        .when(pl.col("texts") == 1)
        .then(pl.lit(ONE_DISTINCT))
        .when(pl.col("best") == pl.col("score_rejected"))
        .then(pl.lit(ALL_EQUAL))
        .when(pl.col("score_chosen").is_null() | (gap == 0.0))
        .then(pl.lit(BEST_INCOMPLETE))
        .when(gap < (margin or 0.0))
        .then(pl.lit(BELOW_MARGIN))
    )
    joined = prompts.join(ranked.lazy(), on="prompt_id", how="left", maintain_order="left")
    return _in_order(joined.with_columns(reason=reason).collect(engine="streaming"))


def _in_order(table: pl.DataFrame) -> pl.DataFrame:
    """`table` by `prompt_id`; files are, and sorting texts again costs more than all else."""
    return table if table["prompt_id"].is_sorted() else table.sort("prompt_id")


def _preferences(verdicts: pl.DataFrame, metrics: pl.LazyFrame, iteration: int, on_policy: bool) -> pl.DataFrame:
    pairs = (
        verdicts.lazy()
        .filter(pl.col("reason").is_null())
        .join(metrics, on="prompt_id", how="left", maintain_order="left")
        .with_columns(
            pair_id=pair_id(pl.col("prompt_id"), pl.col("chosen"), pl.col("rejected")),
            chosen=_answer(pl.col("chosen")),
            rejected=_answer(pl.col("rejected")),
            on_policy=pl.lit(on_policy),
            verdict_by=pl.lit("reward"),
            iteration=pl.lit(iteration),
        )
    )
    return conform(pairs.collect(engine="streaming"), PREFERENCES)


def _answer(text: pl.Expr) -> pl.Expr:
    """A conversation of one assistant turn."""
    return pl.concat_list(pl.struct(role=pl.lit("assistant"), content=text))


def _rejects(verdicts: pl.DataFrame, iteration: int) -> pl.DataFrame:
    is_user = pl.element().struct.field("role") == "user"
    user_turns = pl.col("prompt").list.eval(pl.element().filter(is_user).struct.field("content"))
    failed = verdicts.filter(pl.col("reason").is_not_null()).with_columns(
        text=user_turns.list.last().str.slice(0, _TEXT_LENGTH),
        stage=pl.lit("pair"),
        iteration=pl.lit(iteration),
    )
    return conform(failed, REJECTS).sort(ORDER["rejects"])
