"""Asks a few prompts as the build would, so that a plan rests on measured answers.

The jobs are the jobs of the build, so the build finds everything that a pilot paid for in the ledger. The jobs lie in a
folder of their own, `.eva/pilot`, so that the state of an interrupted build stays as it is.

Models in this process are an exception. Their batches must depend on the build's inputs alone, or the tables would not
be the same bit for bit. If no other model plays, a pilot has a ledger of its own, and the build computes everything
again.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

import polars as pl

from eva_data.config import Endpoint
from eva_data.dataset.ordered import in_memory
from eva_data.errors import StaleError
from eva_data.game.ahead import to_train
from eva_data.game.plan import pilot_ledger
from eva_data.game.starting import first_prompts
from eva_data.iteration.answer import answer
from eva_data.iteration.build import earlier_scales
from eva_data.iteration.create import evolve_prompts, judged
from eva_data.iteration.players import creator_of, solver_of
from eva_data.iteration.ready import refuse_unready
from eva_data.iteration.run import Run
from eva_data.iteration.stages import (
    answers_to,
    best_rewards,
    estimate_and_sample,
    good_prompts,
    topic_model,
    uses_topics,
)
from eva_data.iteration.stale import refuse_stale
from eva_data.ledger import Ledger
from eva_data.method.mix import surviving
from eva_data.method.outcome import lengths_of
from eva_data.method.sample import next_in_line
from eva_data.models.player import Player
from eva_data.tables.schemas import EVOLUTIONS, RESPONSES, empty


@dataclass(frozen=True)
class Piloted:
    """The result of a pilot."""

    prompts: int
    cost: float
    """Dollars of the replies with a known price."""
    unpriced: int
    """Number of replies without a known price."""


def ask_pilot(run: Run, iteration: int, prompts: int) -> Piloted:
    """Answer, score and (from iteration 2 on) evolve `prompts` of the prompts that an iteration starts from.

    Ask nothing if the iteration is built already. Raise the errors that stop a build, such as BudgetError.
    """
    for earlier in range(1, iteration + 1):
        refuse_stale(run, earlier)
    config = run.config
    if not prompts or iteration in run.store.iterations() or iteration < config.first_answered:
        return Piloted(0, 0.0, 0)
    refuse_unready(run, iteration)
    # If the iteration before is not built, the game begins with iteration 1, which asks the first prompts.
    built = iteration - 1 in run.store.iterations()
    number = iteration if built else config.first_answered
    table = good_prompts(run.store, iteration - 1)[0] if built else first_prompts(config)
    few = table.sort("prompt_id").head(prompts)
    solver = solver_of(run, number)
    creator = creator_of(run, solver)
    aside = _aside(run, solver, creator)
    # The mean of several rewards is not kept here, so any scale will do.
    scales = {scorer.fingerprint: (0.0, 1.0) for scorer in run.scorers}
    before = _spent(aside)
    stage = "estimate" if number > 1 and config.mix.draws and config.estimate.source == "fresh" else "respond"
    with run.store.locked(), aside.servers:
        answered = answer(aside, solver, few, stage=stage, iteration=number, scales=scales)
        if iteration > 1 and config.mix.evolves:
            evolve_prompts(aside, max(2, number), creator, few, answered.responses, "evolve")
    shutil.rmtree(aside.store.state / "jobs", ignore_errors=True)
    cost, unpriced = (now - then for now, then in zip(_spent(aside), before, strict=True))
    return Piloted(few.height, cost, int(unpriced))


def _spent(run: Run) -> tuple[float, int]:
    with Ledger(run.ledger) as ledger:
        return ledger.spent()


def _aside(run: Run, solver: Player, creator: Player) -> Run:
    """The run with its jobs in a folder of its own, and with a ledger of its own if all models are in this process."""
    judges = [judge.block for scorer in run.scorers for judge in scorer.asked]
    alone = not any(isinstance(block, Endpoint) for block in (solver.block, creator.block, *judges))
    ledger = pilot_ledger(run) if alone else run.ledger
    return replace(
        run,
        config=run.config.model_copy(update={"folder": pilot_ledger(run).parent, "ledger": ledger}),
    )


@dataclass(frozen=True)
class Previewed:
    """A few prompts of an iteration, made before it is built."""

    iteration: int
    prompts: pl.DataFrame
    """PROMPTS: those that were rewritten, or answered in an iteration without a creator."""
    evolutions: pl.DataFrame
    """EVOLUTIONS: every attempt to rewrite them."""
    responses: pl.DataFrame
    """RESPONSES to the new prompts that survived, or to `prompts` where nothing is rewritten."""
    cost: float
    """Dollars of the replies with a known price."""
    unpriced: int
    """Number of replies without a known price."""
    kept: bool
    """Whether the build finds these calls in the ledger."""


def preview(run: Run, iteration: int, prompts: int) -> Previewed:
    """Rewrite and answer the first `prompts` of an iteration as the build would.

    The prompts are the first of the draw. With `estimate.source: fresh`, the build asks for new answers before it
    draws, so the draw is by the answers of the iteration before. Raise StaleError if the iteration is built, or needs
    what is missing, and the errors that stop a build, such as BudgetError.
    """
    for earlier in range(1, iteration + 1):
        refuse_stale(run, earlier)
    config, store = run.config, run.store
    if iteration in store.iterations():
        raise StaleError(f"iteration {iteration} is built: look at it with `eva-data show --iter {iteration}`")
    if iteration < config.first_answered:
        raise StaleError("iteration 1 holds the responses of a table, so no model is asked: build it")
    if iteration > 1 and iteration - 1 not in store.iterations():
        raise StaleError(
            f"iteration {iteration} begins with the prompts of iteration {iteration - 1}, which is not built: "
            f"preview that, or make it with `eva-data build --iter {iteration - 1}`"
        )
    if missing := to_train(run, iteration):
        raise StaleError(
            f"theta_{missing[-1]}, which answers in iteration {iteration}, is not trained: "
            f"`eva-data train --iter {missing[-1]}` makes it, and `--solver` names another model"
        )
    refuse_unready(run, iteration, download=True)
    solver = solver_of(run, iteration)
    creator = creator_of(run, solver)
    few = _first(run, iteration, solver, prompts)
    aside = _aside(run, solver, creator)
    before = _spent(aside)
    attempts, new = empty(EVOLUTIONS), few
    with store.locked(), aside.servers:
        if iteration > 1 and config.mix.evolves:
            scored = answers_to(few, store, iteration - 1)
            attempts = evolve_prompts(aside, iteration, creator, few, scored, "evolve")
            attempts = judged(config, store, iteration, attempts)
            new = attempts.filter(surviving()).unique("prompt_id", maintain_order=True)
        scales = earlier_scales(run, iteration) or {scorer.fingerprint: (0.0, 1.0) for scorer in run.scorers}
        responses = empty(RESPONSES)
        if new.height:
            answered = answer(aside, solver, new, stage="respond", iteration=iteration, scales=scales)
            responses = in_memory(answered.responses)
    shutil.rmtree(aside.store.state / "jobs", ignore_errors=True)
    cost, unpriced = (now - then for now, then in zip(_spent(aside), before, strict=True))
    return Previewed(iteration, few, attempts, responses, cost, int(unpriced), aside.ledger == run.ledger)


def _first(run: Run, iteration: int, solver: Player, prompts: int) -> pl.DataFrame:
    """The first prompts that an iteration rewrites or answers."""
    config, store = run.config, run.store
    if iteration == 1:
        return first_prompts(config).sort("prompt_id").head(prompts)
    before = good_prompts(store, iteration - 1)[0]
    if not config.mix.draws:
        return before.sort("prompt_id").head(prompts)
    counted = answers_to(before, store, iteration - 1)
    sampled = estimate_and_sample(
        config,
        iteration,
        before,
        counted,
        solver.block.responses,
        best_rewards(store, 1),
        lengths=lengths_of(config, counted),
        topics=topic_model(store).of(before, iteration) if uses_topics(config) else None,
    )
    line = next_in_line(sampled.informativeness, after=0, count=prompts)
    return line.select("prompt_id").join(before, on="prompt_id", how="left", maintain_order="left")
