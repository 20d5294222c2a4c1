"""Replays an iteration from its published tables: same metrics, same draw, same mix, same pairs, or it says where.

Generation cannot be replayed, and need not be: what the models said is in the tables. Everything that eva-data
itself decided follows from them and from the manifest's settings, and is computed again here.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl

from eva_data.config import Config, TableModel
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.staleness import config_of
from eva_data.dataset.store import Store
from eva_data.evolve.candidates import wrongly_judged
from eva_data.iteration.stages import answers_to, estimate_and_sample, good_prompts, mix_prompts
from eva_data.method.outcome import outcome_of
from eva_data.method.rewrite import with_rewritten
from eva_data.method.sample import next_in_line
from eva_data.method.verdicts import merge
from eva_data.review.answers import ANSWERS, as_reviews
from eva_data.review.blind import SLOT_ORDERS
from eva_data.review.spare import spare_pairs
from eva_data.tables.schemas import ORDER, TABLES

SHOWN_ROWS = 3
"""Rows named per table; the rest are counted."""

Tables = dict[str, pl.DataFrame]


def verify_iteration(store: Store, iteration: int) -> list[str]:
    """What is not as it should be, one sentence per table; empty for an honest iteration.

    All revisions are checked: the build by what it was made from, a later one by the build and its reviews.

    Raises StaleError where the iteration, or the one it was built from, is not there, and DataError where a table
    is missing or has other columns.
    """
    problems = [
        f"{name}: its SHA-256 is not the one in the manifest, so it was changed after the build"
        for name in store.changed_files(iteration)
        if (store.folder / name).exists()
    ]
    for revision in store.revisions(iteration):
        seen = store.at(iteration, revision)
        tables = {name: seen.scan(name, iteration).collect() for name in TABLES}
        if revision == 0:
            built = tables
            problems += replay(store, seen.manifest(iteration), tables)
        else:
            found = replay_review(seen, seen.manifest(iteration), built, tables)
            problems += [f"revision {revision}: {problem}" for problem in found]
    return problems


def verify_published(repo: str, iteration: int, revision: str | None = None) -> list[str]:
    """`verify_iteration` of a dataset on the Hub, at a revision or else at the iteration's tag; nothing is kept.

    Raises what `pull` raises: a damaged file is found there.
    """
    from eva_data.hub.publish import tag_of
    from eva_data.hub.pull import pull

    with tempfile.TemporaryDirectory() as folder:
        pulled = pull(repo, Path(folder), revision=revision or tag_of(iteration))
        return verify_iteration(Store(pulled.folder), iteration)


def replay(store: Store, manifest: Manifest, tables: Tables) -> list[str]:
    """Where what follows from an iteration's tables and settings is not what the tables say."""
    iteration = manifest.iteration
    config = config_of(manifest)
    found = _replay_creator(store, config, iteration, tables) if iteration > 1 else []
    answers = tables["responses"].filter(pl.col("stage") == "respond")
    solver = config.model_solver if iteration >= config.first_answered else config.solver
    assert solver is not None
    paired = outcome_of(
        config,
        iteration,
        tables["prompts"],
        answers,
        n=solver.responses,
        on_policy=not isinstance(solver, TableModel),
    )
    rewritten = tables["responses"].filter(pl.col("stage") == "rewrite")
    informative = tables["informativeness"].filter(pl.col("stage") == "respond")
    pair_rejects = tables["rejects"].filter(pl.col("stage") == "pair")
    return [
        *found,
        *_compare("informativeness", informative, paired.informativeness),
        *_compare("preferences", tables["preferences"], with_rewritten(paired.preferences, rewritten)),
        *_compare("rejects", pair_rejects, paired.rejects),
    ]


def replay_review(store: Store, manifest: Manifest, built: Tables, tables: Tables) -> list[str]:
    """Where what follows from a build's tables and the reviews of a revision is not what that revision's tables say."""
    iteration, reviews, pairs = manifest.iteration, tables["reviews"], built["preferences"]
    spare = spare_pairs(store.at(iteration, 0), config_of(manifest), iteration)
    known = pl.concat([pairs, spare])
    order = (
        pl.when(pl.col("first_idx") == pl.col("chosen_idx"))
        .then(pl.lit(SLOT_ORDERS[0]))
        .otherwise(pl.lit(SLOT_ORDERS[1]))
    )
    shown = reviews.join(known.select("pair_id", "chosen_idx"), on="pair_id", how="left").with_columns(order=order)
    merged = merge(pairs, spare, built["rejects"], reviews, iteration=iteration)
    return [
        *_compare("reviews", reviews, as_reviews(shown.select(*ANSWERS), known, iteration)),
        *_compare("preferences", tables["preferences"], merged.preferences),
        *_compare("rejects", tables["rejects"], merged.rejects),
    ]


def _replay_creator(store: Store, config: Config, iteration: int, tables: Tables) -> list[str]:
    previous = store.manifest(iteration).previous
    store = store.at(iteration - 1, previous.revision if previous else 0)
    before, _ = good_prompts(store, iteration - 1)
    counted = tables["responses"].filter(pl.col("stage") == "estimate")
    if config.estimate.source == "previous":
        counted = answers_to(before, store, iteration - 1)
    assert config.model_solver is not None
    sampled = estimate_and_sample(config, iteration, before, counted, config.model_solver.responses)
    estimated = tables["informativeness"].filter(pl.col("stage") == "estimate")
    evolved = tables["evolutions"]["chain_id"].n_unique()
    drawn = sampled.informativeness.collect()
    # Where too few survived, the build walked further down the draw: as far as there are chains.
    if evolved > sampled.selected:
        first = next_in_line(drawn.lazy(), after=0, count=evolved)["prompt_id"]
        drawn = drawn.with_columns(selected=pl.col("prompt_id").is_in(first.implode()))
    problems = _compare("informativeness", estimated, drawn)
    chains = tables["evolutions"].select("chain_id").unique()
    astray = chains.join(drawn.filter("selected"), left_on="chain_id", right_on="prompt_id", how="anti")
    if astray.height:
        first_astray = astray.sort("chain_id")["chain_id"][0]
        problems.append(f"evolutions: {astray.height} chains start at prompts that were not drawn: {first_astray} ...")
    lost = wrongly_judged(tables["evolutions"])
    if lost.height:
        problems.append(
            f"evolutions: of {lost.height} candidates the scores do not say that they lost or went on as they did: "
            f"{_row_name(lost, list(ORDER['evolutions']), 0)} ..."
        )
    if config.mix.source == "new_seeds" or config.mix.original == "seeds":
        # The seeds that were not used are in no table, so what was drawn from them cannot be drawn again.
        return problems
    mixed = mix_prompts(config, iteration, before, tables["evolutions"], None)
    return [
        *problems,
        *_compare("evolutions", tables["evolutions"], mixed.evolutions.collect()),
        *_compare("prompts", tables["prompts"], mixed.prompts.collect()),
    ]


def _compare(name: str, published: pl.DataFrame, computed: pl.DataFrame) -> list[str]:
    """One sentence if two tables differ: how many rows, which, and in which columns."""
    order = list(ORDER[name])
    published, computed = (table.sort(order, nulls_last=True) for table in (published, computed))
    if published.equals(computed):
        return []
    if published.height != computed.height:
        return [f"{name}: {published.height} rows are published, {computed.height} follow from the other tables"]
    different = [
        (column, (published[column].ne_missing(computed[column])).arg_true().to_list())
        for column in published.columns
        if not published[column].equals(computed[column])
    ]
    rows = sorted({row for _, places in different for row in places})
    shown = ", ".join(_row_name(published, order, row) for row in rows[:SHOWN_ROWS])
    more = f" and {len(rows) - SHOWN_ROWS} more" if len(rows) > SHOWN_ROWS else ""
    columns = ", ".join(column for column, _ in different)
    return [f"{name}: {len(rows)} rows are not what follows from the other tables, in {columns}: {shown}{more}"]


def _row_name(table: pl.DataFrame, order: list[str], row: int) -> str:
    return "/".join(str(table[column][row])[:40] for column in order)
