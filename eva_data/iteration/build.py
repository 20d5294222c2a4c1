"""Builds an iteration: runs the stages of the method in order, from the tables of one iteration to the next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.config import TableModel
from eva_data.dataset.compose import NOTHING_STATED, Built, Stated, compose
from eva_data.dataset.inputs import hash_of_prompts, pinned
from eva_data.dataset.manifest import Manifest, Models
from eva_data.dataset.ordered import Table, in_memory
from eva_data.dataset.scored_table import spool_table
from eva_data.dataset.seeds import seed_block
from eva_data.iteration.answer import Answered, answer, carry_over, contrasted
from eva_data.iteration.create import grow
from eva_data.iteration.heldout import split_seeds
from eva_data.iteration.players import contrast_of, creator_of, solver_of
from eva_data.iteration.ready import refuse_unready
from eva_data.iteration.rewrite import rewrite_chosen
from eva_data.iteration.run import Run
from eva_data.iteration.score import Scales
from eva_data.iteration.stages import lengths_record, outcome_parts, outcomes_of
from eva_data.iteration.stale import inputs_to_record, refuse_stale
from eva_data.ledger import Ledger
from eva_data.method.outcome import lengths_of
from eva_data.method.signals.band import still_inside
from eva_data.method.solved import graded
from eva_data.models.licences import models_in, provider_terms, stated_licences, stated_terms
from eva_data.models.player import Player
from eva_data.report.card import write_card
from eva_data.report.measures.consensus import notes_of
from eva_data.report.measures.contrast import contrast_notes
from eva_data.report.measures.lengths import length_notes
from eva_data.rewards.scorers import reward_model
from eva_data.tables.flow import Flow
from eva_data.tables.schemas import COMPARISONS, EVOLUTIONS, REJECTS, RESPONSES, empty


def build_iteration(run: Run, iteration: int) -> Manifest:
    """Build iteration t unless it is there already, and return its manifest.

    Raise StaleError if iteration t or an earlier iteration was made with other settings or from other inputs, or if
    iteration t - 1 is missing. Raise DataError if a table was changed after its build. Everything that was finished
    before an error or a kill is in the ledger and is not done again.
    """
    for earlier in range(1, iteration + 1):
        refuse_stale(run, earlier)
    if iteration in run.store.iterations():
        write_card(run.store, run.config.publish.licence)
        return run.store.manifest(iteration)
    refuse_unready(run, iteration, download=True)
    with play_iteration(run, iteration) as built:
        manifest = run.store.write_iteration(compose(run.config, built), built.tables)
    finish_build(run, iteration)
    return manifest


@contextmanager
def play_iteration(run: Run, iteration: int) -> Iterator[Built]:
    """All tables of iteration t, whether it is there already or not. Finished calls come from the ledger.

    Large tables lie in the work folder, which is removed at the end.
    """
    folder = run.store.work_folder(iteration)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield _build_first(run) if iteration == 1 else _build_next(run, iteration)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def finish_build(run: Run, iteration: int) -> None:
    """Write the card of a built iteration, and remove its jobs."""
    write_card(run.store, run.config.publish.licence)
    shutil.rmtree(run.store.state / "jobs" / f"iter_{iteration}", ignore_errors=True)


@dataclass(frozen=True)
class _Started:
    """X_1 with its responses, from a solver or from a table."""

    prompts: pl.LazyFrame
    responses: pl.LazyFrame
    rejects: pl.LazyFrame
    flows: list[Flow]
    models: Models
    solver: Player | None
    """None if a table answered."""
    per_prompt: int | None
    """Responses per prompt; None takes all that a prompt has."""
    scales: Scales
    notes: list[str]
    comparisons: pl.LazyFrame


def _from_table(run: Run, table: TableModel, inputs: Mapping[str, str]) -> _Started:
    notes: list[str] = []
    folder = run.store.work_folder(1)
    read = spool_table(pinned(table, "solver", inputs), folder, lambda text: notes.append(run.note(text)))
    prompts, responses, rejects, flow = read
    reward = first_value(responses, "reward_model") or f"table:{table.reward}"
    models = Models(solver=f"table:{first_value(prompts, 'source')}", creator=None, reward=reward)
    return _Started(
        prompts, responses, rejects, [flow], models, None, table.responses, {}, notes, empty(COMPARISONS).lazy()
    )


def _from_seeds(run: Run, inputs: Mapping[str, str]) -> _Started:
    block = run.config.seeds
    assert block is not None
    solver = solver_of(run, 1)
    notes: list[str] = []
    split = split_seeds(run.config, run.store, inputs, lambda text: notes.append(run.note(text)))
    unusable, usable = split.rejects, split.training.height + split.heldout.height
    prompts = seed_block(split.training, 1, block.per_iteration)
    read, rejected = usable + unusable.height, unusable.height
    flow = Flow("seeds", "prompts", read, prompts.height, rejected, usable - prompts.height)
    answered = answer(run, solver, prompts, stage="respond", iteration=1)
    return _Started(
        prompts.lazy(),
        answered.responses,
        in_turn(unusable, answered.rejects),
        [flow, *answered.flows],
        Models(solver=solver.fingerprint, creator=None, reward=reward_model(run.scorers)),
        solver,
        solver.block.responses,
        answered.scales,
        [*notes, *answered.notes],
        answered.comparisons,
    )


def _build_first(run: Run) -> Built:
    config = run.config
    table = config.solver if isinstance(config.solver, TableModel) else None
    inputs = inputs_to_record(run, 1)
    begun = _from_seeds(run, inputs) if table is None else _from_table(run, table, inputs)
    lengths = lengths_of(config, begun.responses)
    weaker = None if begun.solver is None else contrast_of(run)
    if config.contrast is not None and weaker is None:
        begun.notes.append(run.note("the responses of iteration 1 come from a table, so `contrast` is not asked"))
    against = _contrasted(run, weaker, begun.solver, begun.prompts, 1, begun.scales)
    parts = outcome_parts(
        config,
        1,
        begun.prompts,
        begun.responses,
        n=begun.per_prompt,
        on_policy=table is None,
        lengths=lengths,
        contrast=None if weaker is None else against.responses,
    )
    paired = outcomes_of(parts, run.store.work_folder(1))
    told = [] if weaker is None else contrast_notes(1, begun.responses, against.responses, None)
    adjusted = {} if lengths is None else {"respond": lengths_record(lengths, paired.lengths)}
    begun.notes.extend(run.note(note) for note in [*length_notes(1, adjusted), *told])
    voted = [run.note(note) for note in notes_of(config, 1, paired.informativeness, None)]
    rewritten = rewrite_chosen(run, begun.solver, paired.preferences, begun.prompts, iteration=1, scales=begun.scales)
    return Built(
        iteration=1,
        tables={
            "preferences": rewritten.preferences,
            "prompts": begun.prompts,
            "evolutions": empty(EVOLUTIONS),
            "informativeness": paired.informativeness,
            "responses": in_turn(begun.responses, against.responses, rewritten.responses),
            "rejects": in_turn(begun.rejects, against.rejects, paired.rejects, rewritten.rejects),
            "comparisons": begun.comparisons,
        },
        flows=[*begun.flows, *against.flows, paired.flow, *rewritten.flows],
        models=begun.models if weaker is None else begun.models.model_copy(update={"contrast": weaker.fingerprint}),
        stated=licences_of(run, begun.solver, *([weaker] if weaker else [])) if begun.solver else NOTHING_STATED,
        inputs=inputs | {"prompts": hash_of_prompts(begun.prompts)},
        notes=[*begun.notes, *against.notes, *voted, *rewritten.notes],
        reward_scales=begun.scales,
        bills=bills_of(run, 1),
        lengths=adjusted,
    )


def _build_next(run: Run, iteration: int) -> Built:
    config, previous, notes = run.config, run.store.manifest(iteration - 1), []
    solver = solver_of(run, iteration)
    creator = creator_of(run, solver)
    inputs = inputs_to_record(run, iteration, theta=solver.theta)
    if not config.trains and run.solver_override is None:
        note = f"`{solver.name}` is not trained here: iteration {iteration} asks the same model as before"
        notes.append(run.note(note))
    grown = grow(run, iteration, solver, creator, scales=earlier_scales(run, iteration))
    carried = grown.prompts.filter(pl.col("mix_role") == "carried")
    new = grown.prompts.filter(pl.col("mix_role") != "carried")
    if not config.mix.draws or config.estimate.source == "previous":
        new, carried = grown.prompts, carried.clear()
    answered = answer(run, solver, new, stage="respond", iteration=iteration, scales=grown.scales)
    folder = run.store.work_folder(iteration)
    copied = carry_over(grown.responses, carried, iteration=iteration, folder=folder)
    responses = in_turn(answered.responses, copied)
    lengths = lengths_of(config, responses)
    weaker = contrast_of(run)
    against = _contrasted(run, weaker, solver, grown.prompts, iteration, answered.scales)
    parts = outcome_parts(
        config,
        iteration,
        grown.prompts,
        responses,
        n=solver.block.responses,
        on_policy=True,
        lengths=lengths,
        contrast=None if weaker is None else against.responses,
    )
    paired = outcomes_of(parts, folder)
    before = run.store.scan("responses", iteration - 1)
    told = [] if weaker is None else contrast_notes(iteration, responses, against.responses, before)
    notes += [run.note(note) for note in told]
    fits = {"estimate": grown.lengths, "respond": lengths}
    adjusted = {
        stage: lengths_record(fit, paired.lengths if stage == "respond" else None)
        for stage, fit in fits.items()
        if fit is not None
    }
    notes += [run.note(note) for note in length_notes(iteration, adjusted)]
    known = in_turn(grown.informativeness, paired.informativeness)
    all_rewards = in_memory(in_turn(grown.responses, responses).select("reward")).to_series()
    earlier = run.store.scan("informativeness", iteration - 1)
    notes += [run.note(note) for note in notes_of(config, iteration, known, earlier)]
    inside = still_inside(config.sample.band, known, responses, graded=graded(all_rewards))
    if inside is not None:
        notes.append(run.note(inside.sentence))
    rewritten = rewrite_chosen(
        run, solver, paired.preferences, grown.prompts, iteration=iteration, scales=answered.scales
    )
    return Built(
        iteration=iteration,
        tables={
            "preferences": rewritten.preferences,
            "prompts": grown.prompts,
            "evolutions": grown.evolutions,
            "informativeness": known,
            "responses": in_turn(grown.responses, responses, against.responses, rewritten.responses),
            "rejects": in_turn(grown.rejects, answered.rejects, against.rejects, paired.rejects, rewritten.rejects),
            "topics": grown.topics,
            "comparisons": pl.concat([grown.comparisons, answered.comparisons]),
        },
        flows=[*grown.flows, *answered.flows, *against.flows, paired.flow, *rewritten.flows],
        models=Models(
            solver=solver.fingerprint,
            creator=creator.fingerprint,
            reward=reward_model(run.scorers),
            **({} if weaker is None else {"contrast": weaker.fingerprint}),
        ),
        theta=solver.theta,
        stated=licences_of(run, solver, creator, *([weaker] if weaker else [])),
        previous=previous,
        inputs=inputs,
        notes=[*grown.notes, *answered.notes, *against.notes, *notes, *rewritten.notes],
        evolving=grown.record,
        reward_scales=answered.scales,
        bills=bills_of(run, iteration),
        lengths=adjusted,
    )


def _contrasted(
    run: Run, weaker: Player | None, solver: Player | None, prompts: pl.LazyFrame, iteration: int, scales: Scales
) -> Answered:
    """The weaker model's responses to X_t, whose indices follow the solver's; empty if there is no such model."""
    if weaker is None or solver is None:
        return Answered(empty(RESPONSES).lazy(), empty(REJECTS).lazy(), [], scales, [], empty(COMPARISONS).lazy())
    return contrasted(run, weaker, prompts, iteration=iteration, scales=scales, first=solver.block.responses)


def in_turn(*tables: Table) -> pl.LazyFrame:
    """The rows of one table after those of another. A table without rows may be among them."""
    return pl.concat([table.lazy() for table in tables])


def first_value(table: pl.LazyFrame, column: str) -> str | None:
    """The value of the first row; None for a table without rows."""
    values = table.select(column).head(1).collect()[column]
    return None if values.is_empty() else str(values[0])


def earlier_scales(run: Run, iteration: int) -> Scales:
    """The constants by which several rewards are standardised, frozen by the first iteration that had them."""
    frozen = (run.store.manifest(earlier).reward_scales for earlier in range(1, iteration))
    return next((scales for scales in frozen if scales), {})


def licences_of(run: Run, *players: Player) -> Stated:
    """What is known of the licences of the players and of the rewards' models."""
    asked = [*players, *(judge for scorer in run.scorers for judge in scorer.asked)]
    folders = {player.fingerprint: player.path for player in asked}
    for scorer in run.scorers:
        if scorer.path is not None:
            folders |= dict.fromkeys(models_in(scorer.fingerprint), scorer.path)
    terms = {name: stated_terms(folder, name) for name, folder in folders.items()}
    terms |= {player.fingerprint: provider_terms(player.provider) for player in asked if player.provider is not None}
    return Stated(stated_licences(folders), {name: place for name, place in terms.items() if place is not None})


def bills_of(run: Run, iteration: int) -> list[dict[str, Any]]:
    """What an iteration took according to the ledger, without times, which differ from run to run."""
    if not run.ledger.exists():
        return []
    with Ledger(run.ledger) as ledger:
        return [
            {key: value for key, value in bill.items() if key not in ("iteration", "seconds")}
            for bill in ledger.bills()
            if bill["iteration"] == iteration
        ]
