"""The stages of an iteration that need no model, called with the settings of a config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from eva_data.config import Config, Consensus
from eva_data.dataset.manifest import LengthRecord, PairSides
from eva_data.dataset.ordered import Table, height_of, in_memory
from eva_data.dataset.spool import Spool
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.method.estimate import informativeness, refuse_unequal
from eva_data.method.mix import Mixed, mix, surviving
from eva_data.method.outcome import Outcome, outcome_of
from eva_data.method.sample import Sampled, sample
from eva_data.method.signals.band import band_of, notes_on
from eva_data.method.signals.lengths import LengthFit, PairLengths, counted_gaps, length_adjusted
from eva_data.method.signals.own_metric import own_metric
from eva_data.method.signals.votes import banded, vote_of, with_votes
from eva_data.method.solved import Bar, bar_of, graded
from eva_data.method.topics.assign import FITTED, TopicModel, fit_topics
from eva_data.method.verdicts import bad_prompts
from eva_data.tables.flow import Flow, together
from eva_data.tables.metrics import column_of
from eva_data.tables.ranges import ROWS_AT_ONCE, IdRange, ranges_for
from eva_data.tables.reasons import MAX_DEPTH
from eva_data.tables.rules import RULES
from eva_data.tables.schemas import INFORMATIVENESS, PREFERENCES, REJECTS


def good_prompts(store: Store, iteration: int) -> tuple[pl.DataFrame, int]:
    """PROMPTS of an iteration without the prompts that people call bad, and the number of the latter.

    Raise DataError if no prompt is left.
    """
    good, bad = scan_good_prompts(store, iteration)
    return good.collect(), bad


def scan_good_prompts(store: Store, iteration: int) -> tuple[pl.LazyFrame, int]:
    """What `good_prompts` gives, as a table that is scanned."""
    prompts = store.scan("prompts", iteration)
    bad = bad_prompts(store.scan("reviews", iteration).collect())
    good = prompts.filter(~pl.col("prompt_id").is_in(bad.implode())) if bad.len() else prompts
    height, left = height_of(prompts), height_of(good)
    if not left:
        raise DataError(
            f"reviewers judged all {height} prompts of iteration {iteration} bad, so none is left to go on from"
        )
    return good, height - left


def estimate_and_sample(
    config: Config,
    iteration: int,
    before: pl.DataFrame,
    counted: Table,
    responses: int,
    first_best: pl.Series,
    *,
    lengths: LengthFit | None = None,
    topics: pl.DataFrame | None = None,
    rules: int = RULES,
) -> Sampled:
    """Informativeness of X_{t-1} by the rewards in `counted` (RESPONSES), and the draw, by these `rules`.

    `lengths` is what `lengths_of` gives for `counted`. Of `before`, `prompt_id` and `depth` are read.

    `first_best` are the best rewards of iteration 1, as `best_rewards` gives them. `topics` are TOPICS of X_{t-1}; they
    are needed with `sample.by_topic`.
    """
    answers, ids = counted.lazy(), before.lazy().select("prompt_id")
    given = in_memory(answers.select("reward")).to_series()
    bar = bar_of(config, given, first_best, responses=responses)
    if config.estimate.unequal == "refuse":
        refuse_unequal(answers, ids, count_truncated=config.estimate.count_truncated)
    informative = pl.concat(
        _estimated(config, iteration, part.of(answers), part.of(ids), responses, lengths=lengths, bar=bar, rules=rules)
        for part in ranges_for(max(before.height, given.len()))
    )
    if (deepest := config.evolve.max_depth) is not None:
        deep = before.filter(pl.col("depth") >= deepest)["prompt_id"]
        reason = pl.when(pl.col("prompt_id").is_in(deep.implode())).then(pl.lit(MAX_DEPTH))
        informative = informative.with_columns(reason=pl.coalesce("reason", reason))
    bounds = config.sample.band
    band = band_of(bounds, informative.lazy(), graded=graded(given))
    if band is not None:
        informative = informative.with_columns(reason=pl.coalesce("reason", band.reason()))
    said: tuple[str, ...] = ()
    if config.sample.agreement_band is not None:
        informative, inside = banded(informative, config.sample.agreement_band)
        said = (inside,)
    sampled = sample(
        informative.lazy(),
        metric=column_of(config.estimate.metric),
        fraction=config.sample.fraction,
        method=config.sample.method,
        weights=config.sample.weights,
        power=config.sample.power,
        strata=config.sample.strata,
        topics=topics.lazy() if topics is not None and config.sample.by_topic else None,
        band="band" if config.sample.agreement_band is None else "agreement_band",
        seed=config.seed,
        iteration=iteration,
        rules=rules,
    )
    if bounds is not None and band is not None:
        said = notes_on(bounds, band, responses)
    return replace(sampled, notes=(*sampled.notes, *said))


def _estimated(
    config: Config,
    iteration: int,
    answers: pl.LazyFrame,
    prompt_ids: pl.LazyFrame,
    responses: int,
    *,
    lengths: LengthFit | None,
    bar: Bar | None,
    rules: int,
) -> pl.DataFrame:
    """INFORMATIVENESS of a range of prompts."""
    # Texts count by their lengths alone.
    counted = length_adjusted(answers, lengths, seed=config.seed).drop("response").collect(engine="streaming")
    informative = informativeness(
        counted.lazy(),
        prompt_ids=prompt_ids,
        stage="estimate",
        iteration=iteration,
        n=responses,
        seed=config.seed,
        count_truncated=config.estimate.count_truncated,
        unequal=config.estimate.unequal,
        own=own_metric(config.estimate.metric),
        bar=bar,
        rules=rules,
    ).collect()
    return with_votes(informative, counted, vote_of(config))


@dataclass(frozen=True)
class Outcomes:
    """The tables that follow from the prompts of X_t and their scored responses, in files if they are large."""

    informativeness: pl.LazyFrame
    """INFORMATIVENESS rows of the respond stage."""
    preferences: pl.LazyFrame
    rejects: pl.LazyFrame
    """REJECTS of the pair stage."""
    flow: Flow
    lengths: tuple[PairLengths, PairLengths] | None
    """Which responses of the pairs are longer, by the given rewards and by the adjusted ones; None if nothing was
    adjusted."""


def outcome_parts(
    config: Config,
    iteration: int,
    prompts: pl.LazyFrame,
    responses: pl.LazyFrame,
    *,
    n: int | None,
    on_policy: bool,
    lengths: LengthFit | None = None,
    contrast: pl.LazyFrame | None = None,
    bar: Bar | None = None,
    band: tuple[float, float] | None = None,
    rules: int = RULES,
    at_once: int = ROWS_AT_ONCE,
) -> Iterator[tuple[IdRange, Outcome]]:
    """What `outcome_of` gives, range by range of the prompts' ids, of about `at_once` responses each.

    So memory is bounded.
    """
    counts = responses.select(pl.len(), each=pl.col("response_idx").n_unique()).collect(engine="streaming").row(0)
    if config.estimate.unequal == "refuse":
        refuse_unequal(responses, prompts.select("prompt_id"), count_truncated=config.estimate.count_truncated)
    for part in ranges_for(max(counts[0], height_of(prompts)), at_once):
        yield (
            part,
            outcome_of(
                config,
                iteration,
                in_memory(part.of(prompts)),
                in_memory(part.of(responses)),
                n=counts[1] if n is None else n,
                on_policy=on_policy,
                lengths=lengths,
                contrast=None if contrast is None else in_memory(part.of(contrast)),
                bar=bar,
                band=band,
                rules=rules,
            ),
        )


def outcomes_of(parts: Iterable[tuple[IdRange, Outcome]], folder: Path | None) -> Outcomes:
    """All parts together. The tables lie in `folder` if they are large, or in memory if it is None."""
    informative, pairs = Spool(folder, "informativeness", INFORMATIVENESS), Spool(folder, "preferences", PREFERENCES)
    unpaired, flows = Spool(folder, "unpaired", REJECTS), []
    gaps: list[tuple[pl.DataFrame, pl.DataFrame]] = []
    for _, found in parts:
        informative.add(found.informativeness)
        pairs.add(found.preferences)
        unpaired.add(found.rejects)
        flows.append(found.flow)
        gaps += [found.gaps] if found.gaps is not None else []
    return Outcomes(informative.table(), pairs.table(), unpaired.table(), together(flows), counted_sides(gaps))


def counted_sides(gaps: Sequence[tuple[pl.DataFrame, pl.DataFrame]]) -> tuple[PairLengths, PairLengths] | None:
    """Which responses of the pairs of all parts are longer; None if nothing was adjusted."""
    if not gaps:
        return None
    before, after = (counted_gaps(pl.concat(each)) for each in zip(*gaps, strict=True))
    return before, after


def lengths_record(fit: LengthFit, pairs: tuple[PairLengths, PairLengths] | None = None) -> LengthRecord:
    """The record of an adjustment for length, and of the pairs by the given and by the adjusted rewards."""
    if pairs is None:
        return LengthRecord(**asdict(fit))
    before, after = (PairSides(**asdict(each)) for each in pairs)
    return LengthRecord(**asdict(fit), before=before, after=after)


def recorded_fit(record: LengthRecord | None) -> LengthFit | None:
    """The adjustment that a manifest records; None if it records none."""
    return None if record is None else LengthFit(record.unit, record.coefficients, record.prompts, record.slopes)


def best_rewards(store: Store, iteration: int) -> pl.Series:
    """The best reward of each prompt that an iteration answered."""
    informative = store.scan("informativeness", iteration).filter(pl.col("stage") == "respond")
    return informative.select("reward_max").collect()["reward_max"]


def mix_prompts(
    config: Config,
    iteration: int,
    before: Table,
    evolutions: Table,
    drawn: pl.DataFrame,
    seeds: pl.DataFrame | None,
    topics: pl.DataFrame | None = None,
    anchors: pl.LazyFrame | None = None,
) -> Mixed:
    """X_t from the survivors, the new seeds or the selected rows of `drawn` (INFORMATIVENESS), and the originals.

    `topics` are TOPICS of all of them, which are needed with `mix.topic_cap`. `anchors` is what `anchors_of` gives.
    """
    reward = config.reward
    new = seeds.filter(pl.col("created_iteration") == iteration).lazy() if seeds is not None else None
    return mix(
        before.lazy(),
        evolutions.lazy(),
        evolved=config.mix.evolved,
        source=config.mix.source,
        original=config.mix.original,
        shortfall=config.mix.shortfall,
        topic_cap=config.mix.topic_cap,
        topics=topics.lazy() if topics is not None else None,
        new_seeds=new,
        seeds=seeds.lazy() if seeds is not None else None,
        drawn=drawn.lazy().filter("selected") if config.mix.draws else None,
        anchors=anchors,
        least_anchors=reward.anchors if isinstance(reward, Consensus) else 0.0,
        seed=config.seed,
        iteration=iteration,
    )


def anchors_of(config: Config, store: Store, iteration: int) -> pl.LazyFrame | None:
    """`prompt_id` of every prompt that was scored by a known answer before iteration t; None if X_t needs no anchors.

    New seeds are anchors themselves, so that a mix of these needs no others.
    """
    reward = config.reward
    if not isinstance(reward, Consensus) or reward.answers is None or config.mix.source == "new_seeds":
        return None
    before = store.scan_until("informativeness", iteration - 1)
    return before.filter(pl.col("known_answer").is_not_null()).select("prompt_id").unique()


def uses_topics(config: Config) -> bool:
    """Whether an iteration needs the topics of its prompts."""
    return config.sample.by_topic or config.mix.topic_cap is not None


def topic_model(store: Store) -> TopicModel:
    """The topics of the dataset, which iteration 1 fixes. Raise MissingExtraError without scikit-learn."""
    first = store.scan("prompts", 1).select("prompt_id", "prompt")
    ids = in_memory(first.select("prompt_id")).to_series().bottom_k(FITTED)
    return fit_topics(in_memory(first.filter(pl.col("prompt_id") <= ids.max())))


def to_mix(before: Table, evolutions: Table, seeds: Table | None) -> pl.LazyFrame:
    """`prompt_id` and `prompt` of everything that a mix can take. A prompt may be there more than once."""
    pools = [before.lazy(), evolutions.lazy().filter(surviving()), *([] if seeds is None else [seeds.lazy()])]
    return pl.concat([pool.select("prompt_id", "prompt") for pool in pools])


def answers_to(prompts: Table, store: Store, iteration: int) -> pl.LazyFrame:
    """RESPONSES to these prompts in an iteration's respond stage."""
    answers = store.scan("responses", iteration).filter(pl.col("stage") == "respond")
    return answers.join(prompts.lazy().select("prompt_id"), on="prompt_id", how="semi", maintain_order="left")
