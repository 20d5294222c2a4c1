"""Mix: make X_t from evolved and original prompts (paper: algorithm 1, appendix A)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, TypeAlias

import polars as pl

from eva_data.errors import DataError
from eva_data.method.signals.votes import anchored
from eva_data.tables.draws import share_of, smallest
from eva_data.tables.ids import uniform_draw
from eva_data.tables.reasons import NOT_BEST, TOPIC_CAP
from eva_data.tables.schemas import EVOLUTIONS, ORDER, PROMPTS

Source: TypeAlias = Literal["evolved", "new_seeds", "sampled"]
Shortfall: TypeAlias = Literal["shrink", "fill_original", "error"]


@dataclass(frozen=True)
class Yield:
    """How many prompts evolving gave, and how many of them X_t took."""

    previous: int
    """N = |X_{t-1}|."""
    needed: int
    """New prompts that X_t should hold: evolved x N, rounded half up; with `sampled`, all that were drawn."""
    found: int
    """New prompts that exist: surviving evolutions, new seeds, or drawn prompts."""
    taken: int
    """New prompts in X_t."""
    originals: int
    """Prompts of X_t that are not new."""
    capped: int = 0
    """New prompts that X_t would hold, were it not for the cap of their topic."""

    @property
    def shrunk(self) -> int:
        """How many prompts X_t has fewer than X_{t-1}."""
        return self.previous - self.taken - self.originals


@dataclass(frozen=True)
class Mixed:
    prompts: pl.LazyFrame
    """PROMPTS: X_t."""
    evolutions: pl.LazyFrame
    """EVOLUTIONS with the final `status`."""
    result: Yield


def mix(
    prompts: pl.LazyFrame,
    evolutions: pl.LazyFrame,
    *,
    evolved: float,
    source: Source = "evolved",
    original: Literal["previous", "seeds"] = "previous",
    shortfall: Shortfall = "shrink",
    topic_cap: float | None = None,
    topics: pl.LazyFrame | None = None,
    new_seeds: pl.LazyFrame | None = None,
    seeds: pl.LazyFrame | None = None,
    drawn: pl.LazyFrame | None = None,
    anchors: pl.LazyFrame | None = None,
    least_anchors: float = 0.0,
    seed: int,
    iteration: int,
) -> Mixed:
    """Make X_t: round(evolved x N) new prompts, and originals for the rest. N is the number of prompts of X_{t-1}.

    `prompts` is X_{t-1} (PROMPTS), one row per prompt. `evolutions` holds all attempts of iteration t (EVOLUTIONS),
    whatever their `status` is so far. The attempts that survive (`surviving`) are the new prompts. A surplus is cut
    uniformly: the smallest keyed hashes stay. `source="new_seeds"` takes the new prompts from `new_seeds` (PROMPTS)
    instead, which is the paper's baseline of table 2, and leaves every survivor unused. `source="sampled"` takes the
    prompts of X_{t-1} whose ids are in `drawn` (`prompt_id`), which are the arms of table 5 without evolving. X_t holds
    all of them, carried, and as many other originals as keep the ratio, so it is smaller than X_{t-1}.

    Originals are drawn uniformly by keyed hash from the whole of X_{t-1}, parents of evolved prompts included (the
    paper leaves this open), or from `seeds` (PROMPTS) without the new prompts. They keep `origin`, `created_iteration`
    and lineage. Their `mix_role` is carried if they come from X_{t-1}, and seed if they are seeds.

    If there are fewer new prompts than needed, `shrink` takes as many originals as keep the ratio, `fill_original`
    fills up to N, and `error` raises DataError. Raise DataError also if X_{t-1} or the shrunk X_t has no prompts, if
    there are too few `seeds`, if a survivor has no prompt or comes from outside X_{t-1}, or if a prompt occurs twice.

    With `topic_cap`, no topic of `topics` (`prompt_id` and `topic`) has more than this share of the new prompts, and of
    the originals (`within_cap`). Of a topic, the prompts with the smallest hashes stay. If that leaves fewer new
    prompts than needed, `shortfall` applies; an attempt that falls out has the reason `topic_cap`.

    With `anchors` (`prompt_id`), at least the share `least_anchors` of X_t is in them, rounded up, as far as there are
    so many among the originals: the originals are drawn as before, and where they hold too few anchors, further anchors
    take the places of others (`anchored`). It cannot be combined with `topic_cap`.

    Both tables are lazy. Large tables are written range by range (`ranges`), on `prompt_id` and on `chain_id`.
    """
    key = uniform_draw(pl.col("prompt_id"), seed=seed, stage="mix", iteration=iteration)
    # A table that is mixed again has the reason of the first time.
    again = pl.col("reason").eq_missing(TOPIC_CAP)
    evolutions = evolutions.with_columns(reason=pl.when(~again).then("reason"))
    survivors = evolutions.filter(surviving())
    new = _new(source, survivors, new_seeds, prompts, drawn)
    pool = prompts if original == "previous" else _given(seeds, "mix.original: seeds")
    if source == "sampled" or (source == "new_seeds" and original == "seeds"):
        pool = pool.join(new, on="prompt_id", how="anti")
    _require_distinct(new, pool, key)
    before, found = _count(prompts), _count(new)
    way: Shortfall | Literal["sampled"] = "sampled" if source == "sampled" else shortfall
    capped = pl.lit(False)
    if topic_cap is None:
        result = _divide(before, found, _count(pool), evolved, way)
        is_new = smallest(new, key, result.taken)
        is_original = smallest(pool, key, result.originals)
        if anchors is not None:
            least = math.ceil(Fraction(str(least_anchors)) * (result.taken + result.originals))
            among_new = _count(new.filter(is_new).join(anchors, on="prompt_id", how="semi"))
            is_original = anchored(pool, key, result.originals, anchors, max(0, least - among_new))
    else:
        if topics is None:
            raise DataError("`mix.topic_cap` needs the topics of the prompts, and none were given: find them first")
        known = topics.select("prompt_id", "topic")
        wanted = found if source == "sampled" else min(found, share_of(evolved, before))
        usable, is_new = _within(new, known, key, wanted, topic_cap)
        divided = _divide(before, usable, _count(pool), evolved, way)
        kept, is_original = _within(pool, known, key, divided.originals, topic_cap)
        capped = smallest(new, key, wanted) & ~is_new
        left_out = _count(new.filter(capped))
        result = replace(divided, found=found, originals=kept, capped=left_out)

    carried_role = "carried" if original == "previous" else "seed"
    originals = pool.filter(is_original).with_columns(mix_role=pl.lit(carried_role))
    if source == "evolved":
        added = _as_prompts(survivors.filter(is_new), _sources(prompts, survivors))
    else:
        role = "carried" if source == "sampled" else "seed"
        added = new.filter(is_new).with_columns(mix_role=pl.lit(role))
    both = [_conform(part.with_columns(iteration=iteration), PROMPTS) for part in (added, originals)]
    mixed = is_new if source == "evolved" else pl.lit(False)
    return Mixed(
        prompts=pl.concat(both).sort(ORDER["prompts"]),
        evolutions=_conform(
            _finished(evolutions, mixed, capped if source == "evolved" else pl.lit(False)), EVOLUTIONS
        ).sort(ORDER["evolutions"]),
        result=result,
    )


def surviving() -> pl.Expr:
    """Whether an attempt (EVOLUTIONS) gave a prompt that was not eliminated."""
    return pl.col("reason").is_null() & pl.col("status").ne_missing("eliminated")


def shortage(evolutions: pl.LazyFrame, *, previous: int, evolved: float) -> int:
    """How many survivors are missing to round(evolved x N), as `mix` needs; `previous` is N, and 0 means enough."""
    return max(0, share_of(evolved, previous) - _count(evolutions.filter(surviving())))


def _new(
    source: Source,
    survivors: pl.LazyFrame,
    new_seeds: pl.LazyFrame | None,
    prompts: pl.LazyFrame,
    drawn: pl.LazyFrame | None,
) -> pl.LazyFrame:
    if source == "evolved":
        return survivors
    if source == "new_seeds":
        return _given(new_seeds, "mix.source: new_seeds")
    if drawn is None:
        return prompts.clear()
    return prompts.join(drawn.select("prompt_id"), on="prompt_id", how="semi")


def _given(seeds: pl.LazyFrame | None, setting: str) -> pl.LazyFrame:
    if seeds is None:
        raise DataError(f"`{setting}` needs seed prompts, and none were given: name them in `seeds`")
    return seeds


def _count(table: pl.LazyFrame) -> int:
    return int(table.select(pl.len()).collect(engine="streaming").item())


def _divide(previous: int, found: int, pool: int, evolved: float, shortfall: Shortfall | Literal["sampled"]) -> Yield:
    share = Fraction(str(evolved))
    needed = found if shortfall == "sampled" else share_of(evolved, previous)
    taken, originals = min(found, needed), previous - needed
    if shortfall == "sampled" and found:
        originals = share_of((1 - share) / share, found)
    elif found < needed:
        if shortfall == "error":
            raise DataError(
                f"{needed} new prompts are needed and {found} were found: sample or evolve more, "
                "or let `mix.shortfall` be `shrink` or `fill_original`"
            )
        originals = previous - found if shortfall == "fill_original" else share_of((1 - share) / share, found)
    if taken + originals == 0:
        raise DataError(
            f"the next prompt set would be empty: of {previous} prompts, {found} gave a new one; "
            "look at the reasons in `evolutions`"
        )
    if originals > pool:
        raise DataError(
            f"{originals} original prompts are needed and there are {pool}: add seeds, or set `mix.original: previous`"
        )
    return Yield(previous=previous, needed=needed, found=found, taken=taken, originals=originals)


def _require_distinct(new: pl.LazyFrame, pool: pl.LazyFrame, key: pl.Expr) -> None:
    """Raise DataError if a prompt id is missing or occurs twice.

    Equal ids have equal keys, and keys take a sixth of the memory. So ids are compared only where keys are equal.
    """
    ids = pl.concat([table.select("prompt_id") for table in (new, pool)])
    keys = ids.select(key=key).collect(engine="streaming").to_series()
    if keys.null_count():
        raise DataError(
            f"{keys.null_count()} prompts have no `prompt_id`: an attempt without a prompt needs a `reason`"
        )
    ordered = keys.sort()
    repeated = ordered.filter(ordered == ordered.shift(1))
    if repeated.is_empty():
        return
    suspects = ids.filter(key.is_in(repeated.implode())).collect(engine="streaming")
    twice = suspects.filter(pl.col("prompt_id").is_duplicated())["prompt_id"].unique().sort()
    if not twice.is_empty():
        raise DataError(
            f"{twice.len()} prompts would be in the next prompt set twice, among them {twice[0]}: "
            "eliminate duplicates before mixing"
        )


def _sources(prompts: pl.LazyFrame, survivors: pl.LazyFrame) -> pl.DataFrame:
    """One row per chain with a survivor: `chain_id` and the `source` of the prompt at which it started."""
    starts = prompts.select("source", chain_id="prompt_id", known=True)
    chains = survivors.select("chain_id").unique().join(starts, on="chain_id", how="left")
    sources = chains.collect(engine="streaming")
    unknown = sources.filter(pl.col("known").is_null())["chain_id"].sort()
    if not unknown.is_empty():
        raise DataError(
            f"{unknown.len()} chains of evolutions start at prompts outside the previous prompt set, among "
            f"them {unknown[0]}: evolve prompts that were sampled from it"
        )
    return sources.select("chain_id", "source")


def _as_prompts(taken: pl.LazyFrame, sources: pl.DataFrame) -> pl.LazyFrame:
    """PROMPTS rows of survivors. Their source is the source of the prompt at which the chain started."""
    return taken.join(sources.lazy(), on="chain_id", how="left").with_columns(
        origin=pl.lit("evolved"), mix_role=pl.lit("evolved"), created_iteration="iteration"
    )


def within_cap(counts: Sequence[int], wanted: int, cap: float) -> tuple[int, int]:
    """How many of at most `wanted` prompts can be taken, and of one topic at most, if topics hold `counts` of them.

    The largest n such that n prompts can be taken with at most max(1, floor(share x n)) of each topic. The share is
    `cap`, or 1 / K with K topics, since less cannot be kept.
    """
    total = sum(counts)
    if not total:
        return 0, 0
    share = max(Fraction(str(cap)), Fraction(1, sum(map(bool, counts))))

    def most(n: int) -> int:
        return max(1, math.floor(share * n))

    # Without rounding down, what fits is all that is below some number.
    low, high = 0, min(wanted, total)
    while low < high:
        middle = (low + high + 1) // 2
        held = sum((min(Fraction(count), max(Fraction(1), share * middle)) for count in counts), Fraction(0))
        fits = held >= middle
        low, high = (middle, high) if fits else (low, middle - 1)
    size = next(n for n in range(low, -1, -1) if sum(min(count, most(n)) for count in counts) >= n)
    return size, most(size)


def _within(table: pl.LazyFrame, topics: pl.LazyFrame, key: pl.Expr, wanted: int, cap: float) -> tuple[int, pl.Expr]:
    """How many of `wanted` prompts of a table can be taken under the cap, and the condition that is true for these."""
    rows = table.select("prompt_id", key=key).join(topics, on="prompt_id", how="left").collect(engine="streaming")
    size, most = within_cap(rows.group_by("topic").len()["len"].to_list(), wanted, cap)
    ranked = rows.sort("key", "prompt_id").with_columns(place=pl.int_range(pl.len()).over("topic"))
    allowed = ranked.filter(pl.col("place") < most).head(size)["prompt_id"]
    return size, pl.col("prompt_id").is_in(allowed.implode()).fill_null(False)


def _finished(evolutions: pl.LazyFrame, mixed: pl.Expr, capped: pl.Expr) -> pl.LazyFrame:
    """The attempts with their `status`, and with a reason where a cap leaves a survivor out."""
    status = evolutions.with_columns(status=_status(mixed))
    left_out = (pl.col("status") == "unused") & pl.col("reason").is_null() & capped
    return status.with_columns(reason=pl.when(left_out).then(pl.lit(TOPIC_CAP)).otherwise("reason"))


def _status(mixed: pl.Expr) -> pl.Expr:
    return (
        pl.when(pl.col("reason").eq_missing(NOT_BEST))
        .then(pl.lit("unused"))
        .when(~surviving())
        .then(pl.lit("eliminated"))
        .when(mixed)
        .then(pl.lit("mixed"))
        .otherwise(pl.lit("unused"))
    )


def _conform(table: pl.LazyFrame, schema: pl.Schema) -> pl.LazyFrame:
    return table.select(pl.col(column).cast(dtype) for column, dtype in schema.items())
