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

from eva_data.config import Endpoint
from eva_data.game.plan import pilot_ledger
from eva_data.game.starting import first_prompts
from eva_data.iteration.answer import answer
from eva_data.iteration.create import evolve_prompts
from eva_data.iteration.players import creator_of, solver_of
from eva_data.iteration.ready import refuse_unready
from eva_data.iteration.run import Run
from eva_data.iteration.stages import good_prompts
from eva_data.iteration.stale import refuse_stale
from eva_data.ledger import Ledger


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
    judges = [scorer.judge.block for scorer in run.scorers if scorer.judge is not None]
    alone = not any(isinstance(block, Endpoint) for block in (solver.block, creator.block, *judges))
    ledger = pilot_ledger(run) if alone else run.ledger
    aside = replace(
        run,
        config=config.model_copy(update={"folder": pilot_ledger(run).parent, "ledger": ledger}),
    )
    # The mean of several rewards is not kept here, so any scale will do.
    scales = {scorer.fingerprint: (0.0, 1.0) for scorer in run.scorers}
    before = _spent(aside)
    stage = "estimate" if number > 1 and config.mix.draws and config.estimate.source == "fresh" else "respond"
    with run.store.locked(), aside.servers:
        answer(aside, solver, few, stage=stage, iteration=number, scales=scales)
        if iteration > 1 and config.mix.evolves:
            evolve_prompts(aside, max(2, number), creator, few, "evolve")
    shutil.rmtree(aside.store.state / "jobs", ignore_errors=True)
    cost, unpriced = (now - then for now, then in zip(_spent(aside), before, strict=True))
    return Piloted(few.height, cost, int(unpriced))


def _spent(run: Run) -> tuple[float, int]:
    with Ledger(run.ledger) as ledger:
        return ledger.spent()
