"""Replays an iteration from its published tables, and says where metrics, draw, mix or pairs differ.

Generation cannot be replayed, and need not be, because the models' texts are in the tables. Everything that eva-data
itself decided follows from the tables and the manifest's settings. It is computed again here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

import polars as pl

from eva_data.config import Config, TableModel
from eva_data.dataset.inputs import hash_of_prompts
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import Table, height_of, id_of, in_memory
from eva_data.dataset.seeds import read_seeds
from eva_data.dataset.staleness import config_of
from eva_data.dataset.store import Store
from eva_data.errors import EvaError
from eva_data.evolve.candidates import JUDGED, wrongly_judged
from eva_data.evolve.elimination.eliminate import TEXTS_AT_ONCE
from eva_data.hub.checks.lengths_again import lengths_again
from eva_data.hub.checks.turns_again import replay_turns
from eva_data.iteration.create import judged_again
from eva_data.iteration.run import Run
from eva_data.iteration.stages import (
    anchors_of,
    answers_to,
    best_rewards,
    counted_sides,
    estimate_and_sample,
    mix_prompts,
    outcome_parts,
    recorded_fit,
    scan_good_prompts,
    uses_topics,
)
from eva_data.iteration.stale import changes
from eva_data.method.outcome import bar_online
from eva_data.method.rewrite import with_rewritten
from eva_data.method.sample import next_in_line
from eva_data.review.agreement import figures
from eva_data.review.answers import ANSWERS, as_reviews
from eva_data.review.blind import SLOT_ORDERS
from eva_data.review.pull import revised
from eva_data.review.spare import is_among, spare_pairs
from eva_data.tables import metrics
from eva_data.tables.ranges import IdRange, ranges_for
from eva_data.tables.reasons import NOT_BEST, TOPIC_CAP
from eva_data.tables.schemas import ORDER, TABLES

SHOWN_ROWS = 3
"""Number of rows that are named per table; the others are counted."""

UNSOLVED_ONLINE_SINCE = 3
"""The rules from which on the prompts of an online run are told whether they are solved."""

UNDRAWN_SINCE = 3
"""The rules by which nothing is estimated if nothing is drawn."""

Tables = Mapping[str, Table]


def replay(store: Store, manifest: Manifest, tables: Tables, seeds: pl.DataFrame | None = None) -> list[str]:
    """The differences between an iteration's tables and what follows from its tables and settings, one sentence each.

    `seeds` are PROMPTS of the seeds, as `seed_prompts` gives them; None if the mix took no seeds or they are missing.
    """
    iteration = manifest.iteration
    config = config_of(manifest)
    found = _replay_creator(store, manifest, config, tables, seeds) if iteration > 1 else []
    prompts, responses = tables["prompts"].lazy(), tables["responses"].lazy()
    answers = responses.filter(pl.col("stage") == "respond")
    solver = config.model_solver if iteration >= config.first_answered else config.solver
    assert solver is not None
    with_bar = manifest.online is not None and manifest.rules >= UNSOLVED_ONLINE_SINCE
    parts = outcome_parts(
        config,
        iteration,
        prompts,
        answers,
        n=solver.responses,
        on_policy=not isinstance(solver, TableModel),
        lengths=recorded_fit(manifest.lengths.get("respond")),
        contrast=responses.filter(pl.col("stage") == "contrast") if manifest.models.contrast is not None else None,
        bar=bar_online(config, in_memory(prompts), in_memory(answers)) if with_bar else None,
        band=config.sample.band if manifest.online is not None else None,
        rules=manifest.rules,
    )
    rewritten = responses.filter(pl.col("stage") == "rewrite")
    published = {
        "informativeness": tables["informativeness"].lazy().filter(pl.col("stage") == "respond"),
        "preferences": tables["preferences"].lazy(),
        "rejects": tables["rejects"].lazy().filter(pl.col("stage") == "pair"),
    }
    compared = {name: Recomputed(name, table) for name, table in published.items()}
    gaps: list[tuple[pl.DataFrame, pl.DataFrame]] = []
    for part, paired in parts:
        pairs = with_rewritten(
            paired.preferences, in_memory(part.of(rewritten)), keep=config.pair.rewrite_keep, rules=manifest.rules
        )
        compared["informativeness"].add(part, paired.informativeness)
        compared["preferences"].add(part, pairs)
        compared["rejects"].add(part, paired.rejects)
        gaps += [paired.gaps] if paired.gaps is not None else []
    found += [problem for each in compared.values() for problem in each.problems()]
    return [*found, *lengths_again(manifest, config, "respond", answers, counted_sides(gaps))]


def replay_review(store: Store, manifest: Manifest, built: Tables, tables: Tables) -> list[str]:
    """The differences between a revision's tables and what follows from the build's tables and the reviews.

    `store` is read at the build.
    """
    iteration, reviews = manifest.iteration, in_memory(tables["reviews"])
    spare = spare_pairs(store, config_of(manifest), iteration, reviews["pair_id"])
    pairs = in_memory(built["preferences"].lazy().filter(is_among(reviews["pair_id"])))
    known = pl.concat([pairs, spare])
    order = (
        pl.when(pl.col("first_idx") == pl.col("chosen_idx"))
        .then(pl.lit(SLOT_ORDERS[0]))
        .otherwise(pl.lit(SLOT_ORDERS[1]))
    )
    shown = reviews.join(known.select("pair_id", "chosen_idx"), on="pair_id", how="left").with_columns(order=order)
    follows = revised(built["preferences"].lazy(), spare, built["rejects"].lazy(), reviews, iteration)
    # Counts of votes do not say any more who agreed with whom.
    counted = reviews["votes"].null_count() < reviews.height
    metric = config_of(manifest).estimate.metric
    told = manifest.review if counted else json.loads(json.dumps(figures(pairs, spare, reviews, metric)))
    return [
        *compare("reviews", reviews, as_reviews(shown.select(*ANSWERS), known, iteration)),
        *(problem for name, table in follows.items() for problem in compare(name, tables[name], table)),
        *([] if told == manifest.review else ["manifest: `review` is not what the reviews come to"]),
    ]


def replay_repetitions(
    store: Store, manifest: Manifest, tables: Tables, run: Run | None, unknown: list[str]
) -> list[str]:
    """Evolutions whose verdict on repetitions is not what follows from all seeds, earlier prompts and benchmarks.

    They are compared by the rules of the manifest. Where they are not at hand, `unknown` is told instead.
    """
    evolutions = tables["evolutions"].lazy()
    if not height_of(evolutions):
        return []
    what = "which evolutions repeat a prompt or a benchmark"
    try:
        config = config_of(manifest)
        if manifest.online is not None:
            unknown.append(f"{what}, which was judged while the model trained")
            return []
        found = config if _needs_no_file(config, store) else _with_places(run, manifest)
        if found is None:
            unknown.append(f"{what}, of which not all are here")
            return []
        again = judged_again(found, store, manifest.iteration, evolutions, rules=manifest.rules)
    except EvaError:
        # What cannot be read is told by what reads it first.
        unknown.append(f"{what}, of which not all can be read")
        return []
    return compare("evolutions", evolutions, again)


def _needs_no_file(config: Config, store: Store) -> bool:
    """Whether evolutions are compared with tables alone, and with prompts of the sandbox as iteration 1 began with."""
    if config.evolve.benchmarks or (config.seeds is not None and config.seeds.sandbox is None):
        return False
    if config.seeds is None:
        return True
    seeds, _ = read_seeds(config.seeds, config.seed)
    begun = seeds.head(config.seeds.per_iteration or seeds.height)
    return hash_of_prompts(begun) == store.manifest(1).inputs.get("prompts")


def _with_places(run: Run | None, manifest: Manifest) -> Config | None:
    """The settings with the places of seeds and benchmarks, where these are what the iteration was made from."""
    if run is None:
        return None
    since = changes(run, manifest)
    missing = [key for key in since.unknown if key.startswith(("seeds.", "evolve."))]
    unnamed = [
        each.name for each in run.config.evolve.benchmarks if f"evolve.benchmarks.{each.name}" not in manifest.inputs
    ]
    return None if since.settings or since.inputs or missing or unnamed else run.config


def mixed_from_seeds(config: Config) -> bool:
    """Whether prompts of X_t were drawn from the seeds. No table holds the unused seeds."""
    return config.mix.source == "new_seeds" or config.mix.original == "seeds"


def _replay_creator(
    store: Store, manifest: Manifest, config: Config, tables: Tables, seeds: pl.DataFrame | None
) -> list[str]:
    iteration = manifest.iteration
    previous = store.manifest(iteration).previous
    store = store.at(iteration - 1, previous.revision if previous else 0)
    before, _ = scan_good_prompts(store, iteration - 1)
    evolutions = tables["evolutions"].lazy()
    estimated = in_memory(tables["informativeness"].lazy().filter(pl.col("stage") == "estimate"))
    if manifest.rules >= UNDRAWN_SINCE and not config.mix.draws:
        problems = compare("informativeness", estimated, estimated.clear())
        return [*problems, *_replay_mix(store, manifest, config, tables, before, estimated, seeds)]
    if config.estimate.source == "previous":
        counted = answers_to(before, store, iteration - 1)
    else:
        counted = tables["responses"].lazy().filter(pl.col("stage") == "estimate")
    assert config.model_solver is not None
    solver = config.model_solver
    sampled = estimate_and_sample(
        config,
        iteration,
        in_memory(before.select("prompt_id", "depth")),
        counted,
        solver.responses,
        best_rewards(store, 1),
        lengths=recorded_fit(manifest.lengths.get("estimate")),
        topics=in_memory(tables["topics"]) if uses_topics(config) else None,
        rules=manifest.rules,
    )
    astray_turns = replay_turns(config, before, counted, evolutions)
    chains = in_memory(evolutions.select("chain_id").unique())
    evolved = chains.height
    drawn = sampled.informativeness.collect()
    # If too few survived, the build went further down the draw: as far as there are chains.
    if evolved > sampled.selected:
        first = next_in_line(drawn.lazy(), after=0, count=evolved)["prompt_id"]
        drawn = drawn.with_columns(selected=pl.col("prompt_id").is_in(first.implode()))
    problems = [*compare("informativeness", estimated, drawn), *astray_turns]
    problems += lengths_again(manifest, config, "estimate", counted)
    astray = chains.join(drawn.filter("selected"), left_on="chain_id", right_on="prompt_id", how="anti")
    if astray.height:
        first_astray = astray.sort("chain_id")["chain_id"][0]
        problems.append(f"evolutions: {astray.height} chains start at prompts that were not drawn: {first_astray} ...")
    lost = wrongly_judged(in_memory(evolutions.select(JUDGED)))
    if lost.height:
        problems.append(
            f"evolutions: of {lost.height} candidates the scores do not say that they lost or went on as they did: "
            f"{_row_name(lost, list(ORDER['evolutions']), 0)} ..."
        )
    return [*problems, *_replay_mix(store, manifest, config, tables, before, drawn, seeds)]


def _replay_mix(
    store: Store,
    manifest: Manifest,
    config: Config,
    tables: Tables,
    before: pl.LazyFrame,
    drawn: pl.DataFrame,
    seeds: pl.DataFrame | None,
) -> list[str]:
    iteration = manifest.iteration
    if mixed_from_seeds(config) and seeds is None:
        return _wrong_status(tables)
    topics = in_memory(tables["topics"]) if uses_topics(config) else None
    anchors = anchors_of(config, store, iteration)
    mixed = mix_prompts(config, iteration, before, tables["evolutions"], drawn, seeds, topics, anchors)
    evolving = manifest.evolving
    result = asdict(mixed.result)
    wrong = [name for name in result if evolving is not None and getattr(evolving, name) != result[name]]
    return [
        *compare("evolutions", tables["evolutions"], mixed.evolutions),
        *compare("prompts", tables["prompts"], mixed.prompts),
        *(f"manifest: `evolving.{name}` is {getattr(evolving, name)}, and {result[name]} follows" for name in wrong),
    ]


def _wrong_status(tables: Tables) -> list[str]:
    """Evolutions whose status contradicts their reasons or X_t. This is for a mix that cannot be drawn again."""
    evolutions, reason = tables["evolutions"].lazy(), pl.col("reason")
    taken = in_memory(tables["prompts"].lazy().filter(pl.col("mix_role") == "evolved").select("prompt_id")).to_series()
    status = (
        pl.when(reason.is_not_null() & ~reason.is_in([NOT_BEST, TOPIC_CAP]))
        .then(pl.lit("eliminated"))
        .when(reason.is_null() & pl.col("prompt_id").is_in(taken.implode()))
        .then(pl.lit("mixed"))
        .otherwise(pl.lit("unused"))
    )
    return compare("evolutions", evolutions, evolutions.with_columns(status=status))


def compare(name: str, published: Table, computed: Table) -> list[str]:
    """One sentence if two tables differ: how many rows, which rows, and in which columns."""
    compared = Recomputed(name, published.lazy())
    for part in ranges_for(height_of(published), TEXTS_AT_ONCE):
        compared.add(part, in_memory(part.with_nulls(computed.lazy(), id_of(name))))
    return compared.problems()


class Recomputed:
    """A published table, and the same table computed again range by range of its ids."""

    def __init__(self, name: str, published: pl.LazyFrame) -> None:
        # A metric that is newer than the tables is null in all of them.
        later = [metric for metric in metrics.LATER if metric in published.collect_schema()]
        counts = published.select(pl.col(later).count()).collect(engine="streaming").row(0, named=True) if later else {}
        self._unknown = [metric for metric in later if not counts[metric]]
        self._name, self._published, self._order = name, published, list(ORDER[name])
        self._heights, self._parted_alike = (0, 0), True
        self._rows, self._columns = 0, set[str]()
        self._shown: list[pl.DataFrame] = []

    def add(self, part: IdRange, computed: pl.DataFrame) -> None:
        """Compare the rows of a range of ids. The ranges cover all ids."""
        published = in_memory(part.with_nulls(self._published, id_of(self._name)))
        self._heights = self._heights[0] + published.height, self._heights[1] + computed.height
        published, computed = (
            table.drop(self._unknown).sort(self._order, nulls_last=True) for table in (published, computed)
        )
        if published.height != computed.height:
            self._parted_alike = False
            return
        if published.equals(computed):
            return
        different = {
            column: published[column].ne_missing(computed[column])
            for column in published.columns
            if not published[column].equals(computed[column])
        }
        wrong = published.filter(pl.DataFrame(different).select(pl.any_horizontal(pl.all())).to_series())
        self._rows += wrong.height
        self._columns |= different.keys()
        self._shown.append(wrong.select(self._order).head(SHOWN_ROWS))

    def problems(self) -> list[str]:
        """One sentence if the tables differ: how many rows, which rows, and in which columns."""
        name, (published, computed) = self._name, self._heights
        if published != computed:
            return [f"{name}: {published} rows are published, {computed} follow from the other tables"]
        if not self._parted_alike:
            return [f"{name}: rows of other ids are published than follow from the other tables"]
        if not self._rows:
            return []
        rows = pl.concat(self._shown).sort(self._order, nulls_last=True)
        shown = ", ".join(_row_name(rows, self._order, row) for row in range(min(SHOWN_ROWS, rows.height)))
        more = f" and {self._rows - SHOWN_ROWS} more" if self._rows > SHOWN_ROWS else ""
        columns = ", ".join(column for column in TABLES[name] if column in self._columns)
        return [f"{name}: {self._rows} rows are not what follows from the other tables, in {columns}: {shown}{more}"]


def _row_name(table: pl.DataFrame, order: list[str], row: int) -> str:
    return "/".join(str(table[column][row])[:40] for column in order)
