"""The numbers of a dataset's card, always computed anew from the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from eva_data.dataset.store import Store
from eva_data.tables.metrics import CUSTOM
from eva_data.tables.ranges import IdRange, id_ranges
from eva_data.tables.reasons import CONTAMINATION, NOT_BEST, kind
from eva_data.tables.schemas import METRICS

READ_PROMPTS = 50_000
"""Texts of about so many prompts are measured. Ids are hashes, so the first prompts are a uniform sample."""

JOINED_PROMPTS = 1_000_000

MIX_ROLES = ("evolved", "carried", "seed")
"""The kinds of prompts in X_t."""

OVERVIEW = pl.Schema(
    {
        "iteration": pl.Int32,
        "prompts": pl.Int64,
        "evolved": pl.Int64,  # of them
        "pairs": pl.Int64,
        "rejects": pl.Int64,
        "eliminated": pl.Int64,  # evolution attempts
        "gap_mean": pl.Float64,  # score_chosen - score_rejected, null without pairs
        "gap_median": pl.Float64,
        "tokens": pl.Int64,  # written by solver and creator in this iteration, null if unknown
    }
)

INFORMATIVENESS_SUMMARY = pl.Schema(
    {
        "iteration": pl.Int32,
        "mix_role": pl.String,
        "count": pl.Int64,  # prompts whose metric is defined
        "mean": pl.Float64,
        "q25": pl.Float64,
        "median": pl.Float64,
        "q75": pl.Float64,
    }
)

PROMPT_SCORES = pl.Schema(
    {
        "iteration": pl.Int32,
        "prompts": pl.Int64,  # evolved prompts in X_t with both ratings of the creator
        "complexity": pl.Float64,  # their means, from 1 to 5, null without rated prompts
        "quality": pl.Float64,
        "lost": pl.Int64,  # rated candidates that were not the best of their step
        "lost_complexity": pl.Float64,
        "lost_quality": pl.Float64,
    }
)

REJECTS_BY_REASON = pl.Schema({"stage": pl.String, "reason": pl.String, "iteration": pl.Int32, "rows": pl.Int64})


@dataclass(frozen=True)
class Lengths:
    """The relation of reward and length in one iteration, in characters, over about READ_PROMPTS prompts."""

    answers: int
    """The number of answers in the correlation: answers to prompts whose answers differ in reward and in length."""
    correlation: float | None
    """Spearman's correlation of reward and length among answers to the same prompt. None without such prompts."""
    pairs: int
    chosen_longer: float | None
    """Share of the pairs. None without pairs."""
    rejected_longer: float | None
    chosen_mean: float | None
    rejected_mean: float | None
    cut: float | None
    """Share of the answers that were cut at max_tokens. None if it is unknown."""


def overview(store: Store, iterations: Sequence[int]) -> pl.DataFrame:
    """OVERVIEW: one row per iteration."""
    return pl.DataFrame([_counts(store, iteration) for iteration in iterations], schema=OVERVIEW, orient="row")


def informativeness_summary(store: Store, iterations: Sequence[int], metric: str) -> pl.DataFrame:
    """INFORMATIVENESS_SUMMARY of a metric's column over X_t: one row per iteration and kind of prompt."""
    value = pl.col(metric)
    found = [
        measured(store, iteration)
        .group_by("mix_role")
        .agg(
            count=value.count(),
            mean=value.mean(),
            **{name: value.quantile(q, "linear") for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75))},
        )
        .select(pl.lit(iteration, pl.Int32).alias("iteration"), pl.all())
        .cast(INFORMATIVENESS_SUMMARY)
        .collect(engine="streaming")
        for iteration in iterations
    ]
    return pl.concat(found or [pl.DataFrame(schema=INFORMATIVENESS_SUMMARY)]).sort("iteration", "mix_role")


def prompt_scores(store: Store, iterations: Sequence[int]) -> pl.DataFrame:
    """PROMPT_SCORES: one row per iteration in which prompts were rated (the paper's table 7)."""
    taken, lost = pl.col("status") == "mixed", pl.col("reason").eq_missing(NOT_BEST)
    rated = pl.col("complexity").is_not_null() & pl.col("quality").is_not_null()
    found = []
    for iteration in iterations:
        prompts = store.scan("evolutions", iteration).filter(rated)
        if not _height(prompts):
            continue
        means = {
            f"{name}{score}": pl.col(score).filter(which).mean()
            for name, which in (("", taken), ("lost_", lost))
            for score in ("complexity", "quality")
        }
        counts = {"prompts": taken.sum(), "lost": lost.sum()}
        found.append(
            prompts.select(pl.lit(iteration).alias("iteration"), **counts, **means).collect(engine="streaming")
        )
    columns = [pl.col(name).cast(dtype) for name, dtype in PROMPT_SCORES.items()]
    return pl.concat([part.select(columns) for part in found] or [pl.DataFrame(schema=PROMPT_SCORES)])


def rejects_by_reason(store: Store, iterations: Sequence[int]) -> pl.DataFrame:
    """REJECTS_BY_REASON: rows that failed, including eliminated evolutions, by the kind of their reason."""
    found = [frame for iteration in iterations for frame in _rejects(store, iteration)]
    counts = pl.concat(found).group_by("stage", "reason", "iteration").agg(rows=pl.len().cast(pl.Int64))
    return counts.sort("stage", "reason", "iteration").collect(engine="streaming")


def lengths(store: Store, iteration: int) -> Lengths:
    """Figures that show a preference for long answers."""
    part = sample_of(store, iteration)
    answers = part.of(store.scan("responses", iteration).filter(pl.col("stage") == "respond"))
    chosen, rejected = (pl.col(side).list.last().struct.field("content").str.len_chars() for side in _SIDES)
    pairs = part.of(store.scan("preferences", iteration)).select(chosen=chosen, rejected=rejected)
    found = pairs.select(
        pairs=pl.len(),
        chosen_longer=(pl.col("chosen") > pl.col("rejected")).mean(),
        rejected_longer=(pl.col("chosen") < pl.col("rejected")).mean(),
        chosen_mean=pl.col("chosen").mean(),
        rejected_mean=pl.col("rejected").mean(),
    ).collect(engine="streaming")
    cut = answers.select((pl.col("finish_reason") == "length").mean()).collect(engine="streaming").item()
    counted, correlation = _rank_correlation(answers)
    return Lengths(answers=counted, correlation=correlation, cut=cut, **found.row(0, named=True))


def pairs_where(store: Store, iterations: Sequence[int], condition: pl.Expr) -> int:
    """The number of pairs of these iterations that fulfil a condition on PREFERENCES."""
    return sum(_height(store.scan("preferences", iteration).filter(condition)) for iteration in iterations)


def contaminated(store: Store, iterations: Sequence[int]) -> tuple[int, int]:
    """The numbers of evolution attempts that repeat a benchmark, and of all attempts."""
    attempts = [store.scan("evolutions", iteration) for iteration in iterations]
    repeats = kind(pl.col("reason")) == CONTAMINATION
    return sum(_height(table.filter(repeats)) for table in attempts), sum(map(_height, attempts))


def sources(store: Store, iterations: Sequence[int]) -> list[str]:
    """The sources of the seeds in the tables."""
    found = pl.concat([store.scan("prompts", iteration).select("source") for iteration in iterations])
    return found.unique().drop_nulls().sort("source").collect()["source"].to_list()


def measured(store: Store, iteration: int) -> pl.LazyFrame:
    """Every metric of X_t under the solver that answered it, with the `mix_role` of each prompt.

    The table is in memory, with 60 bytes a prompt. It is joined one range of ids at a time.
    """
    rows = store.scan("informativeness", iteration).filter(pl.col("stage") == "respond")
    roles = store.scan("prompts", iteration)
    kinds = pl.col("mix_role").cast(pl.Enum(MIX_ROLES))
    parts = [
        part.of(rows).join(part.of(roles), on="prompt_id", how="left").select(kinds, *METRICS, CUSTOM)
        for part in id_ranges(-(-max(_height(roles), 1) // JOINED_PROMPTS))
    ]
    return pl.concat([part.collect(engine="streaming") for part in parts]).lazy()


def sample_of(store: Store, iteration: int) -> IdRange:
    """A range of ids that holds about READ_PROMPTS prompts of an iteration."""
    return id_ranges(-(-max(_height(store.scan("prompts", iteration)), 1) // READ_PROMPTS))[0]


_SIDES = ("chosen", "rejected")


def _counts(store: Store, iteration: int) -> tuple[int | float | None, ...]:
    prompts, pairs = store.scan("prompts", iteration), store.scan("preferences", iteration)
    evolutions, gap = store.scan("evolutions", iteration), pl.col("score_chosen") - pl.col("score_rejected")
    fresh = store.scan("responses", iteration).filter(~pl.col("reused"))
    tokens = pl.concat([fresh.select("completion_tokens"), evolutions.select("completion_tokens")])
    counted = pl.col("completion_tokens").cast(pl.Int64)
    gaps = pairs.select(gap.mean().alias("mean"), gap.median().alias("median")).collect(engine="streaming")
    return (
        iteration,
        _height(prompts),
        _height(prompts.filter(pl.col("mix_role") == "evolved")),
        _height(pairs),
        _height(store.scan("rejects", iteration)),
        _height(evolutions.filter(pl.col("status") == "eliminated")),
        *gaps.row(0),
        tokens.select(pl.when(counted.count() > 0).then(counted.sum())).collect(engine="streaming").item(),
    )


def _height(table: pl.LazyFrame) -> int:
    return int(table.select(pl.len()).collect(engine="streaming").item())


def _rejects(store: Store, iteration: int) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    reason = kind(pl.col("reason"))
    failed = store.scan("rejects", iteration).select("stage", reason, "iteration")
    eliminated = store.scan("evolutions", iteration).filter(pl.col("status") == "eliminated")
    return failed, eliminated.select(pl.lit("evolve").alias("stage"), reason, "iteration")


def _rank_correlation(answers: pl.LazyFrame) -> tuple[int, float | None]:
    """The number of answers, and Spearman's correlation of reward and length, both ranked within each prompt."""
    columns = ("reward", "length")
    ranks = (
        answers.filter(pl.col("reward").is_finite() & pl.col("response").is_not_null())
        .select("prompt_id", "reward", length=pl.col("response").str.len_chars())
        .filter(pl.col(column).n_unique().over("prompt_id") > 1 for column in columns)
        .select((pl.col(column).rank() - pl.col(column).rank().mean()).over("prompt_id") for column in columns)
        .collect()
    )
    return ranks.height, None if ranks.is_empty() else ranks.select(pl.corr(*columns)).item()
