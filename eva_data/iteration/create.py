"""The creator step (paper 3.3.2, algorithm 1): from X_{t-1} to X_t by estimating, sampling, evolving and mixing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice

import polars as pl

from eva_data.config import Config
from eva_data.dataset.manifest import Evolving
from eva_data.dataset.ordered import Table, height_of, id_of, in_memory
from eva_data.dataset.seeds import as_prompts, seed_block
from eva_data.dataset.spool import SPILL_BYTES, Spool
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, DataError
from eva_data.evolve.candidates import unrated
from eva_data.evolve.elimination.contamination import read_reference_set
from eva_data.evolve.elimination.eliminate import TEXTS_AT_ONCE, Against, eliminate, repetitions, with_verdicts
from eva_data.evolve.reply_form import guide_of
from eva_data.iteration.answer import PROMPTS_AT_ONCE, answer
from eva_data.iteration.heldout import split_seeds
from eva_data.iteration.run import Run
from eva_data.iteration.score import Scales
from eva_data.iteration.stages import (
    anchors_of,
    answers_to,
    best_rewards,
    estimate_and_sample,
    mix_prompts,
    scan_good_prompts,
    to_mix,
    topic_model,
    uses_topics,
)
from eva_data.jobs.results import Parted
from eva_data.method.mix import shortage
from eva_data.method.outcome import lengths_of
from eva_data.method.responses import best_replies
from eva_data.method.sample import next_in_line
from eva_data.method.signals.lengths import LengthFit
from eva_data.method.solved import QUANTILE, threshold
from eva_data.models.player import Player
from eva_data.tables.flow import Flow
from eva_data.tables.ranges import ranges_for
from eva_data.tables.reasons import CONTAMINATION, DUPLICATE, HELD_OUT, NEAR_DUPLICATE, TOPIC_CAP, kind
from eva_data.tables.rules import RULES
from eva_data.tables.schemas import (
    CARRIED,
    COMPARISONS,
    EVOLUTIONS,
    INFORMATIVENESS,
    REJECTS,
    RESPONSES,
    TABLES,
    TOPICS,
    empty,
)

_KNOWN = ("prompt_id", "prompt", "root_id", "depth")

ATTEMPTS_AT_ONCE = 5_000
"""Attempts that are Python objects at once."""


@dataclass(frozen=True)
class Grown:
    """X_t and the tables of its making."""

    prompts: pl.LazyFrame
    """PROMPTS: X_t. It lies in the work folder if it is large, and so do the evolutions."""
    evolutions: pl.LazyFrame
    informativeness: pl.DataFrame
    """INFORMATIVENESS: the rows of the estimate stage, with the draw; none if nothing is drawn."""
    responses: pl.LazyFrame
    """RESPONSES: the rows of the estimate stage; none if it used earlier rewards or nothing is drawn."""
    rejects: pl.LazyFrame
    flows: list[Flow]
    record: Evolving
    """Numbers of prompts that were needed, found and taken, and of eliminated attempts by reason."""
    scales: Scales
    """The constants by which several rewards were standardised; empty with one reward."""
    notes: list[str]
    topics: pl.DataFrame
    """TOPICS of X_{t-1} and of everything that the mix could take; no rows if no setting needs them."""
    comparisons: pl.LazyFrame
    """COMPARISONS of the estimate stage; no rows without a tournament."""
    lengths: LengthFit | None = None
    """How the rewards of the estimate stage were adjusted for length; None if they were not."""


def grow(run: Run, iteration: int, solver: Player, creator: Player, *, scales: Scales | None = None) -> Grown:
    """Make X_t from X_{t-1}. The tables of iteration t - 1 must be there."""
    config, store, notes = run.config, run.store, []
    before, bad = scan_good_prompts(store, iteration - 1)
    if bad:
        notes.append(run.note(f"reviewers judged {bad} prompts of iteration {iteration - 1} bad: they do not go on"))
    responses, rejects, flows = empty(RESPONSES).lazy(), empty(REJECTS).lazy(), []
    drawn, evolutions, comparisons = empty(INFORMATIVENESS), empty(EVOLUTIONS).lazy(), empty(COMPARISONS).lazy()
    counted = responses
    if config.mix.draws and config.estimate.source == "fresh":
        answered = answer(run, solver, before, stage="estimate", iteration=iteration, scales=scales)
        responses, rejects, flows, scales = answered.responses, answered.rejects, answered.flows, answered.scales
        notes += answered.notes
        counted, comparisons = responses, answered.comparisons
    elif config.mix.draws:
        counted = answers_to(before, store, iteration - 1)
    model = topic_model(store) if uses_topics(config) else None
    topics = model.of(before, iteration) if model else None
    lengths = lengths_of(config, counted) if config.mix.draws else None
    if config.mix.draws:
        first_best = best_rewards(store, 1)
        if config.estimate.min_best == "auto" and config.pair.min_chosen is None:
            least = threshold(config.estimate, config.pair, first_best)
            said = f"`estimate.min_best` is {least}, the {QUANTILE:.0%} quantile of the best rewards of iteration 1"
            notes.append(run.note(said))
        responses_each = solver.block.responses
        sampled = estimate_and_sample(
            config,
            iteration,
            in_memory(before.select("prompt_id", "depth")),
            counted,
            responses_each,
            first_best,
            lengths=lengths,
            topics=topics,
        )
        notes += [run.note(note) for note in sampled.notes]
        drawn = sampled.informativeness.collect()
    if config.mix.evolves:
        drawn, evolutions = _evolve_enough(run, iteration, creator, before, drawn, counted)
    if config.mix.draws:
        selected = int(drawn["selected"].sum())
        flows = [*flows, Flow("sample", "prompts", drawn.height, selected, 0, drawn.height - selected)]
    needs_seeds = config.mix.source == "new_seeds" or config.mix.original == "seeds"
    seeds = seed_prompts(run, iteration) if needs_seeds else None
    if model is not None:
        topics = model.of(to_mix(before, evolutions, seeds), iteration)
    anchors = anchors_of(config, store, iteration)
    mixed = mix_prompts(config, iteration, before, evolutions, drawn, seeds, topics, anchors)
    final = _spooled(run, iteration, "evolutions", mixed.evolutions, height_of(evolutions))
    decided = in_memory(final.select("status", "reason", "complexity", "quality", "unscored"))
    status = decided["status"]
    flows += [
        Flow(
            "evolve",
            "evolutions",
            decided.height,
            int((status == "mixed").sum()),
            int((status == "eliminated").sum()),
            int((status == "unused").sum()),
        )
    ]
    if unscored := unrated(decided):
        notes.append(run.note(unscored))
    result = mixed.result
    if config.mix.source == "sampled" and config.mix.draws:
        others = f"{result.originals} others of X_{iteration - 1}"
        notes.append(run.note(f"X_{iteration} holds the {result.taken} drawn prompts and {others}"))
    elif result.shrunk:
        note = run.note(
            f"only {result.found} of {result.needed} new prompts survived: X_{iteration} has {result.shrunk + bad} "
            f"prompts fewer than X_{iteration - 1}"
        )
        notes.append(note)
    if result.capped:
        note = run.note(
            f"{result.capped} new prompts are left out of X_{iteration}, since their topics have the share of "
            "`mix.topic_cap` there"
        )
        notes.append(note)
    counted_ones = {name: value for name, value in asdict(result).items() if name != "capped" or config.mix.topic_cap}
    record = Evolving(**counted_ones, shrunk=result.shrunk, eliminated=_eliminated(decided))
    prompts = _spooled(run, iteration, "prompts", mixed.prompts, result.taken + result.originals)
    known = empty(TOPICS) if topics is None else topics
    return Grown(
        prompts, final, drawn, responses, rejects, flows, record, scales or {}, notes, known, comparisons, lengths
    )


def _spooled(run: Run, iteration: int, name: str, table: pl.LazyFrame, height: int) -> pl.LazyFrame:
    """A table that is computed range by range. It lies in the work folder if it is large."""
    rows = Spool(run.store.work_folder(iteration), name, TABLES[name])
    for part in ranges_for(height, TEXTS_AT_ONCE):
        rows.add(in_memory(part.of(table, id_of(name))))
    return rows.table()


def seed_prompts(run: Run, iteration: int) -> pl.DataFrame:
    """PROMPTS of the seeds of iteration 1, and of this iteration's block if it needs new seeds."""
    config = run.config
    if config.seeds is None:
        raise ConfigError("`mix` asks for seeds, but the prompts came from a table of responses: name `seeds`")
    seeds = split_seeds(run.config, run.store, run.store.manifest(1).inputs).training
    first = as_prompts(seeds.head(config.seeds.per_iteration or seeds.height), 1)
    if config.mix.source != "new_seeds":
        return first
    return pl.concat([first, seed_block(seeds, iteration, config.seeds.per_iteration)])


def _evolve_enough(
    run: Run, iteration: int, creator: Player, before: pl.LazyFrame, drawn: pl.DataFrame, counted: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.LazyFrame]:
    """Evolve the selected prompts, and further prompts in the order of the draw while too few evolutions survive.

    `counted` are RESPONSES to them. Return the informativeness with all evolved prompts `selected`, and all attempts
    with their elimination. Many attempts lie in the work folder.
    """
    made = Spool(run.store.work_folder(iteration), "attempts", EVOLUTIONS, key="chain_id", most_bytes=SPILL_BYTES)
    done, found, previous = 0, made.table(), height_of(before)
    count = int(drawn["selected"].sum())
    while True:
        chosen = next_in_line(drawn.lazy(), after=done, count=count)
        if chosen.is_empty():
            break
        rows = before.join(chosen.lazy().select("prompt_id"), on="prompt_id", how="semi")
        for part in _attempts(run, iteration, creator, rows, counted, f"evolve-{done}"):
            made.add(part)
        done += chosen.height
        attempts = made.table()
        found = with_verdicts(attempts, repetitions(attempts, **_repeated(run.config, run.store, iteration)))
        missing = shortage(found, previous=previous, evolved=run.config.mix.evolved)
        if not missing:
            break
        # Evolve as many more as are needed at the rate of survival so far, at least one.
        survived = height_of(found.filter(pl.col("status").is_null()))
        count = max(1, round(missing * done / max(survived, 1)))
    decided = in_memory(found.select("status", "reason"))
    if not decided["status"].null_count():
        reasons = ", ".join(f"{reason} {count}" for reason, count in _eliminated(decided).items())
        raise DataError(
            f"none of {decided.height} evolutions survived ({reasons}), so there is no next prompt set: use another "
            "`creator` or `evolve.method`, or raise `evolve.max_tokens` where they were truncated"
        )
    extended = next_in_line(drawn.lazy(), after=0, count=done)["prompt_id"]
    return drawn.with_columns(selected=pl.col("prompt_id").is_in(extended.implode())), found


def evolve_prompts(run: Run, iteration: int, creator: Player, prompts: Table, scored: Table, name: str) -> pl.DataFrame:
    """EVOLUTIONS of the chains that start at `prompts`. Only what a chain itself can tell is eliminated so far.

    `scored` are RESPONSES to the prompts. A method that adds turns goes on from the best of them.
    """
    return pl.concat([empty(EVOLUTIONS), *_attempts(run, iteration, creator, prompts.lazy(), scored.lazy(), name)])


def _attempts(
    run: Run, iteration: int, creator: Player, prompts: pl.LazyFrame, scored: pl.LazyFrame, name: str
) -> Iterator[pl.DataFrame]:
    """What `evolve_prompts` gives, in parts, in the order of the chains' ids."""
    settings = run.config.evolve
    results = run.ask(
        creator,
        "evolve",
        _to_evolve(prompts, scored if settings.adds_turn else None),
        iteration=iteration,
        stage="evolve",
        settings=settings,
        key="solver" if run.config.creator == "shared" else "creator",
        sampling=settings,
        folder=name,
        framed=True,
        guide=guide_of(settings.reply),
    )
    remaining = (attempt for _, attempts in results for attempt in attempts)
    while part := [*islice(remaining, ATTEMPTS_AT_ONCE)]:
        yield pl.DataFrame(part, schema=EVOLUTIONS, orient="row")


def _to_evolve(prompts: pl.LazyFrame, scored: pl.LazyFrame | None) -> Parted:
    """The rows for the creator, in the order of their ids. Texts of a range of ids are in memory.

    With `scored` (RESPONSES), they have the column `reply`, the best of these responses.
    """
    known = [column for column in CARRIED if column in prompts.collect_schema()]
    counts = in_memory(prompts.select(pl.len().alias("prompts"), pl.col(known).count()))
    carried = [column for column in known if counts[column].item()]
    height = int(counts["prompts"].item())
    rows = prompts.select(*_KNOWN, *carried)

    def parts() -> Iterator[pl.DataFrame]:
        for part in ranges_for(height, PROMPTS_AT_ONCE):
            asked = in_memory(part.of(rows)).sort("prompt_id")
            if scored is not None:
                answers = part.of(scored).join(asked.lazy().select("prompt_id"), on="prompt_id", how="semi")
                asked = asked.join(best_replies(in_memory(answers)), on="prompt_id", how="left", maintain_order="left")
            yield asked

    return Parted(height, parts)


def judged(config: Config, store: Store, iteration: int, attempts: pl.DataFrame, *, rules: int = RULES) -> pl.DataFrame:
    """The attempts after elimination by all seeds, all earlier prompts and the benchmark sets of the settings."""
    return eliminate(attempts, **_repeated(config, store, iteration, rules=rules))


def _repeated(config: Config, store: Store, iteration: int, *, rules: int = RULES) -> Against:
    """What the attempts of an iteration may not repeat."""
    known = [store.scan_until("prompts", iteration - 1).select(_KNOWN)]
    heldout = None
    if config.seeds is not None:
        seeds = split_seeds(config, store, store.manifest(1).inputs)
        known.append(as_prompts(seeds.training, 1).lazy().select(_KNOWN))
        heldout = as_prompts(seeds.heldout, 1).lazy().select(_KNOWN) if seeds.heldout.height else None
    return {
        "known": pl.concat(known),
        "near_duplicate": config.evolve.near_duplicate,
        "benchmarks": [
            read_reference_set(benchmark.name, benchmark.path, column=benchmark.column)
            for benchmark in config.evolve.benchmarks
        ],
        "ngram": config.evolve.ngram,
        "heldout": heldout,
        "rules": rules,
    }


def judged_again(config: Config, store: Store, iteration: int, evolutions: pl.LazyFrame, *, rules: int) -> pl.LazyFrame:
    """The finished evolutions with the verdicts on repetitions as they follow from all prompts and benchmarks.

    What a chain itself eliminated stays, and so does `status`.
    """
    # What a mix left out is judged like a survivor, and keeps its reason.
    capped = pl.col("reason").eq_missing(TOPIC_CAP)
    alone = capped | kind(pl.col("reason")).is_in([DUPLICATE, NEAR_DUPLICATE, CONTAMINATION, HELD_OUT])
    was_open = pl.col("reason").is_null() | alone
    columns = ("status", "reason", "duplicate_of")
    # The first tables had one candidate and no column for it.
    number = pl.col("candidate").fill_null(0)
    undecided = [pl.when(~was_open).then(pl.col(name)).alias(name) for name in columns]
    verdicts = repetitions(
        evolutions.with_columns(*undecided, candidate=number), **_repeated(config, store, iteration, rules=rules)
    )
    marked = evolutions.with_columns(
        *undecided, candidate=number, capped=capped, status_published="status", candidate_published="candidate"
    )
    found = with_verdicts(marked, verdicts)
    survived = pl.col("capped") & pl.col("reason").is_null()
    return found.with_columns(
        reason=pl.when(survived).then(pl.lit(TOPIC_CAP)).otherwise("reason"),
        status="status_published",
        candidate="candidate_published",
    ).select(EVOLUTIONS.names())


def _eliminated(evolutions: pl.DataFrame) -> dict[str, int]:
    eliminated = evolutions.filter(pl.col("status") == "eliminated").group_by(kind(pl.col("reason")))
    return dict(eliminated.len().sort("reason").iter_rows())
