"""Who plays in an iteration: the solver that answers and the creator that rewrites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from eva_data.config import Model, VllmModel
from eva_data.errors import ConfigError
from eva_data.iteration.run import Run
from eva_data.jobs.job import Job
from eva_data.models.player import Player, connection, player_of


def solver_of(run: Run, iteration: int) -> Player:
    """Who answers in `iteration`: `--solver`, else the trained theta_{t-1}, else the configured model."""
    return player_of(solver_block(run, iteration))


def solver_block(run: Run, iteration: int) -> Model:
    """The settings of who answers in `iteration`; nothing is resolved."""
    block = run.config.model_solver
    if block is None:
        raise ConfigError(
            "`solver` is a table of responses, which can make iteration 1 only: to evolve from there, name the model "
            "that answers from iteration 2 on, `solver.then: {backend: transformers, model: ...}`"
        )
    trained = run.store.solver_folder(iteration - 1)
    if run.solver_override is not None:
        return block.model_copy(update=_named(run.solver_override))
    if trained.exists() and run.config.trains:
        return block.model_copy(update={"model": str(trained), "revision": None})
    return block


def _named(solver: str) -> dict[str, str | None]:
    """`model` and `revision` out of `--solver MODEL[@REVISION]`; a folder may have an @ in its name."""
    model, at, revision = solver.rpartition("@")
    if not at or not model or Path(solver).exists():
        return {"model": solver, "revision": None}
    return {"model": model, "revision": revision}


def creator_of(run: Run, solver: Player) -> Player:
    """Who rewrites prompts: the solver itself where the creator is shared."""
    if run.config.creator == "shared":
        return solver
    return player_of(run.config.creator)


def work_with(
    run: Run, player: Player, job: Job, rows: pl.DataFrame, iteration: int, name: str, *, key: str
) -> list[tuple[dict[str, object], object]]:
    """Do a job of a player, with its server started if it needs one; `key` is its block in the settings."""
    url = None
    if player.started_here:
        assert isinstance(player.block, VllmModel)
        url = run.served(player.block, player.path, job, rows, key=key)
    return run.work(replace(job, connection=connection(player, url=url, budget=run.budget)), rows, iteration, name)
