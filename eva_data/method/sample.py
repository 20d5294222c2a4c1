"""Sample: draw the informative prompts that will be evolved (paper: algorithm 1, appendix A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl

from eva_data.errors import ConfigError, DataError
from eva_data.tables.draws import share_of, smallest
from eva_data.tables.ids import uniform_draw
from eva_data.tables.reasons import MAX_DEPTH, NO_CONSENSUS, TOO_EASY, TOO_HARD, UNSOLVED
from eva_data.tables.rules import RULES
from eva_data.tables.schemas import INFORMATIVENESS, ORDER

Method: TypeAlias = Literal["weighted", "greedy", "uniform", "stratified"]
Weights: TypeAlias = Literal["proportional", "minmax", "inverted"]

_ESTIMATED = pl.col("stage") == "estimate"


@dataclass(frozen=True)
class Sampled:
    """The informativeness of every prompt with its draw, and facts about the draw."""

    informativeness: pl.LazyFrame
    """INFORMATIVENESS; `weight`, `draw` and `selected` are filled in the rows of stage estimate."""
    prompts: int
    """N, the number of rows of stage estimate."""
    drawable: int
    """How many of these rows have a `draw`."""
    wanted: int
    """round(fraction x N), at least 1."""
    notes: tuple[str, ...]
    """What the user should know about this draw, one sentence each."""

    @property
    def selected(self) -> int:
        """How many prompts are selected: `wanted`, or all drawable prompts if they are fewer."""
        return min(self.wanted, self.drawable)


def sample(
    informativeness: pl.LazyFrame,
    *,
    metric: str,
    fraction: float,
    method: Method = "weighted",
    weights: Weights = "proportional",
    power: float = 1.0,
    strata: int = 4,
    topics: pl.LazyFrame | None = None,
    band: Literal["band", "agreement_band"] = "band",
    seed: int,
    iteration: int,
    rules: int = RULES,
) -> Sampled:
    """Select round(fraction x N) prompts, rounded half up and at least one, without replacement.

    `draw` orders all prompts that can be drawn: the largest goes first, ties go by `prompt_id`. `selected` marks the
    first of that order; `next_in_line` goes on from there. The methods are:

    - `weighted`: `draw` = log(u) / weight, with a u in (0, 1) that belongs to the prompt (Efraimidis and Spirakis
      2006). This is the same as drawing one prompt after another, each time with probabilities proportional to the
      weights of the prompts that are left. The probability of being selected at all is therefore *not* exactly
      proportional to the weight, and less so for a larger fraction. Weights are `proportional` to the metric, or
      `minmax`, (m - min) / (max - min), which never draws the least informative prompt, or `inverted`, 1 - minmax,
      which never draws the most informative. Prompts of weight 0 are not drawn. If every prompt has the same metric,
      the draw is uniform, and a note says so.
      A `power` other than 1 raises the weights, divided by the largest, to that power. `draw` is then
      power x log(weight) - log(-log(u)), which has the same order as log(u) / weight^power and no underflow (the
      Gumbel-top-k trick, Vieira 2014; Kool et al. 2019, arXiv 1903.06059). With a power of 0 every prompt with a finite
      metric is equally likely; the larger the power, the nearer the draw comes to `greedy`.
    - `greedy`: the largest metric goes first, ties in random order; `draw` is minus the rank.
    - `stratified`: uniform within each of `strata` equally large strata by rank of the metric; ties are divided at
      random. The j-th of the n prompts of a stratum, in random order, has `draw` = -(j - v) / n with a v in (0, 1) that
      belongs to the prompt. So each stratum gets its share of any number of prompts, rounded up or down at random, and
      every prompt is equally likely to be drawn. By `rules` before 3, v is 1/2 and the smaller prompt id decides.
    - `uniform`: `draw` = u.

    With `topics` (`prompt_id` and `topic`), the same share of each topic is drawn. The j-th of a topic's prompts, in
    the order of the draw above, goes at the place (j - 1/2) / n, where n counts all prompts of the topic; among equal
    places a hash decides. This divides any number of prompts over the topics by Webster's method, and `draw` is minus
    the rank. A topic without prompts that can be drawn gives its share to the others. Prompts without a topic are a
    topic of their own.

    A prompt whose metric is null or infinite can be drawn only with `uniform`. A prompt with the reason `unsolved`,
    `no_consensus`, `max_depth`, `too_easy` or `too_hard` is never drawn. `weight` is null for such prompts and with
    `greedy`, and 1 with `uniform` and `stratified`. Rows of stage respond pass through with nulls. `band` is the key of
    the settings that made prompts too easy or too hard, for a note.

    Raise ConfigError if proportional weights would be negative, and DataError if no prompt can be drawn.
    """
    pool = _ESTIMATED & ~_barred(UNSOLVED, NO_CONSENSUS, MAX_DEPTH, TOO_EASY, TOO_HARD)
    if method != "uniform":
        pool &= pl.col(metric).is_finite().fill_null(False)
    facts = _facts(informativeness, metric, pool, band)
    u = uniform_draw(pl.col("prompt_id"), seed=seed, stage="sample", iteration=iteration)
    weight: pl.Expr = pl.when(pool).then(1.0)
    draw: pl.Expr = pl.when(pool).then(u)
    table = informativeness
    if method == "weighted":
        weight = pl.when(pool).then(_weight(metric, weights, facts))
        draw = pl.when(weight > 0).then(u.log() / weight)
        if power != 1:
            weight, draw = _raised(weight, power, u, table)
    elif method == "greedy":
        weight = pl.lit(None)
        table, draw = _with_ranks(table, _greedy(table.filter(pool), metric, u))
    elif method == "stratified":
        within = uniform_draw(pl.col("prompt_id"), seed=seed, stage="strata", iteration=iteration)
        within = pl.lit(0.5) if rules < 3 else within
        table, draw = _with_ranks(table, _stratified(table.filter(pool), metric, strata, u, within))
    drawn = table.with_columns(weight=weight, draw=draw)
    said: tuple[str, ...] = ()
    if topics is not None:
        ordered, said = _by_topic(
            drawn, topics, uniform_draw(pl.col("prompt_id"), seed=seed, stage="topic", iteration=iteration)
        )
        drawn, draw = _with_ranks(drawn, ordered)
        drawn = drawn.with_columns(draw=draw)
    drawable = int(drawn.select(pl.col("draw").count()).collect(engine="streaming").item())
    wanted = max(1, share_of(fraction, facts.prompts))
    selected = smallest(drawn, -pl.col("draw"), wanted)
    return Sampled(
        informativeness=drawn.with_columns(selected=pl.when(_ESTIMATED).then(selected))
        .select(pl.col(column).cast(dtype) for column, dtype in INFORMATIVENESS.items())
        .sort(ORDER["informativeness"]),
        prompts=facts.prompts,
        drawable=drawable,
        wanted=wanted,
        notes=(*_notes(metric, method, facts, drawable, wanted), *said),
    )


def next_in_line(sampled: pl.LazyFrame, *, after: int, count: int) -> pl.DataFrame:
    """The prompts at places `after` + 1 to `after` + `count` of the draw, in order: `prompt_id`, `draw`.

    `sampled` is INFORMATIVENESS after `sample`. If `after` is the number of selected prompts, these are the prompts to
    evolve next if too few evolutions survived. There are fewer rows than `count` if the draw runs dry. This goes on
    with the same draw: the first k prompts are the same for every fraction.
    """
    estimated = sampled.filter(_ESTIMATED).select("prompt_id", "draw")
    first = estimated.filter(smallest(estimated, -pl.col("draw"), after + count))
    return first.sort(-pl.col("draw"), "prompt_id").slice(after, count).collect(engine="streaming")


@dataclass(frozen=True)
class _Facts:
    band: str
    prompts: int
    unsolved: int
    disputed: int
    deepest: int
    too_easy: int
    too_hard: int
    pooled: int
    low: float
    high: float

    @property
    def constant(self) -> bool:
        return self.low == self.high


def _facts(informativeness: pl.LazyFrame, metric: str, pool: pl.Expr, band: str) -> _Facts:
    in_pool = pl.col(metric).filter(pool)
    facts = _Facts(
        band,
        *informativeness.select(
            prompts=_ESTIMATED.sum(),
            unsolved=(_ESTIMATED & _barred(UNSOLVED)).sum(),
            disputed=(_ESTIMATED & _barred(NO_CONSENSUS)).sum(),
            deepest=(_ESTIMATED & _barred(MAX_DEPTH)).sum(),
            too_easy=(_ESTIMATED & _barred(TOO_EASY)).sum(),
            too_hard=(_ESTIMATED & _barred(TOO_HARD)).sum(),
            pooled=pool.sum(),
            low=in_pool.min(),
            high=in_pool.max(),
        )
        .collect(engine="streaming")
        .row(0),
    )
    if facts.pooled == 0:
        barred = _barred_notes(facts)
        why = f" ({'; '.join(barred)})" if barred else ""
        raise DataError(
            f"none of {facts.prompts} prompts has a finite `{metric}` and may be evolved{why}, so none can be drawn: "
            "the column `reason` of the informativeness says why"
        )
    return facts


def _barred(*reasons: str) -> pl.Expr:
    """Whether a prompt is not to be drawn for one of these reasons, whatever its metric."""
    return pl.col("reason").is_in(reasons).fill_null(False)


def _unsolved(facts: _Facts) -> str:
    if not facts.unsolved:
        return ""
    return f"{facts.unsolved} of {facts.prompts} prompts are unsolved by `estimate.min_best` and cannot be drawn"


def _disputed(facts: _Facts) -> str:
    if not facts.disputed:
        return ""
    return f"the responses to {facts.disputed} of {facts.prompts} prompts have no consensus: they cannot be drawn"


def _deepest(facts: _Facts) -> str:
    if not facts.deepest:
        return ""
    return f"{facts.deepest} of {facts.prompts} prompts are as deep as `evolve.max_depth` and cannot be drawn"


def _outside(facts: _Facts) -> str:
    if not facts.too_easy + facts.too_hard:
        return ""
    return (
        f"{facts.too_easy} of {facts.prompts} prompts are too easy and {facts.too_hard} too hard for "
        f"`sample.{facts.band}` and cannot be drawn"
    )


def _barred_notes(facts: _Facts) -> list[str]:
    return [note for note in (_unsolved(facts), _disputed(facts), _deepest(facts), _outside(facts)) if note]


def _weight(metric: str, weights: Weights, facts: _Facts) -> pl.Expr:
    if facts.low < 0 and weights == "proportional":
        raise ConfigError(
            f"`estimate.metric: {metric}` goes down to {facts.low:g}, and `sample.weights: proportional` "
            "needs values of 0 or more: use `sample.weights: minmax`"
        )
    if facts.constant:
        return pl.lit(1.0)
    if weights == "proportional":
        return pl.col(metric)
    if weights == "inverted":
        return (facts.high - pl.col(metric)) / (facts.high - facts.low)
    return (pl.col(metric) - facts.low) / (facts.high - facts.low)


def _raised(weight: pl.Expr, power: float, u: pl.Expr, table: pl.LazyFrame) -> tuple[pl.Expr, pl.Expr]:
    """The weights as shares of the largest, raised to a power, and the `draw`; see `sample`."""
    largest = table.select(weight.max()).collect(engine="streaming").item()
    share = weight / largest
    gumbel = -(-u.log()).log()
    if power == 0:
        return pl.when(share.is_not_null()).then(1.0), pl.when(share.is_not_null()).then(gumbel)
    return share.pow(power), pl.when(share > 0).then(power * share.log() + gumbel)


def _greedy(pool: pl.LazyFrame, metric: str, u: pl.Expr) -> pl.DataFrame:
    """One row per prompt of the pool: `prompt_id`, `rank` = -1 for the largest metric, -2 for the next."""
    order = pool.select("prompt_id", metric=-pl.col(metric), u=u).sort("metric", "u", "prompt_id")
    ranked = order.select("prompt_id", rank=-pl.int_range(1, pl.len() + 1).cast(pl.Float64))
    return ranked.collect(engine="streaming")


def _stratified(pool: pl.LazyFrame, metric: str, strata: int, u: pl.Expr, v: pl.Expr) -> pl.DataFrame:
    """One row per prompt of the pool: `prompt_id`, `rank` = -(j - v) / n within its stratum."""
    by_metric = pool.select("prompt_id", metric=pl.col(metric), u=u, v=v).sort("metric", "u", "prompt_id")
    stratum = pl.int_range(pl.len()) * strata // pl.len()
    members = by_metric.select("prompt_id", "u", "v", stratum=stratum)
    place = pl.int_range(1, pl.len() + 1).over("stratum") - pl.col("v")
    ranked = members.sort("u", "prompt_id").select("prompt_id", rank=-place / pl.len().over("stratum"))
    return ranked.collect(engine="streaming")


def _by_topic(drawn: pl.LazyFrame, topics: pl.LazyFrame, u: pl.Expr) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """One row per prompt with a `draw`: `prompt_id`, `rank` = -1 for the first to go; and what the user should know."""
    known = topics.select("prompt_id", "topic")
    rows = drawn.filter(_ESTIMATED).select("prompt_id", "draw", u=u).join(known, on="prompt_id", how="left")
    estimated = rows.with_columns(size=pl.len().over("topic")).collect(engine="streaming")
    order = estimated.filter(pl.col("draw").is_not_null()).sort(
        "draw", "u", "prompt_id", descending=[True, False, False]
    )
    place = (pl.int_range(pl.len()).over("topic") + 0.5) / pl.col("size")
    ranked = order.with_columns(place=place).sort("place", "u", "prompt_id")
    empty = estimated.group_by("topic").agg(drawable=pl.col("draw").count()).filter(pl.col("drawable") == 0)
    named = [f"topic {number}" for number in empty["topic"].drop_nulls().sort()]
    named += ["those without a topic"] * (empty["topic"].null_count())
    said = f"none of the prompts of {', '.join(named)} can be drawn: the other topics give more"
    return ranked.select("prompt_id", rank=-pl.int_range(1, pl.len() + 1).cast(pl.Float64)), (said,) if named else ()


def _with_ranks(table: pl.LazyFrame, ranks: pl.DataFrame) -> tuple[pl.LazyFrame, pl.Expr]:
    unranked = table.drop("rank", strict=False)
    joined = unranked.join(ranks.lazy(), on="prompt_id", how="left", maintain_order="left")
    return joined, pl.when(_ESTIMATED).then("rank")


def _notes(metric: str, method: Method, facts: _Facts, drawable: int, wanted: int) -> tuple[str, ...]:
    notes = _barred_notes(facts)
    absent = (
        facts.prompts - facts.unsolved - facts.disputed - facts.deepest - facts.too_easy - facts.too_hard - facts.pooled
    )
    if absent:
        notes.append(f"{absent} of {facts.prompts} prompts have no finite `{metric}` and cannot be drawn")
    if method == "weighted" and facts.constant:
        notes.append(f"all prompts have the same `{metric}`, {facts.low:g}, so the draw is uniform")
    if drawable < wanted:
        notes.append(f"{wanted} prompts were wanted but only {drawable} can be drawn: all of them are selected")
    return tuple(notes)
