"""Finds the players of an iteration: the solver, which answers, and the creator, which rewrites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eva_data.config import Model
from eva_data.errors import ConfigError
from eva_data.iteration.run import Run
from eva_data.iteration.thetas import refuse_damaged, refuse_other
from eva_data.models.player import Player, player_of


def solver_of(run: Run, iteration: int) -> Player:
    """The solver of `iteration`: `--solver`, else the trained theta_{t-1}, else the configured model.

    Raise DataError if the theta is damaged, and ModelError or EndpointError if the model cannot be found or reached.
    """
    theta = theta_of(run, iteration)
    if theta is None:
        return player_of(solver_block(run, iteration))
    refuse_damaged(run.store, theta)
    player = player_of(solver_block(run, iteration))
    refuse_other(run.store, theta, player.fingerprint)
    return replace(player, theta=theta)


def theta_of(run: Run, iteration: int) -> int | None:
    """t - 1 if theta_{t-1}, trained by eva-data, answers in iteration t; None if another model does."""
    here = run.solver_override is None and run.config.trains and run.store.solver_folder(iteration - 1).exists()
    return iteration - 1 if here else None


def solver_block(run: Run, iteration: int) -> Model:
    """The settings of the solver of `iteration`. No model is looked up."""
    block = run.config.model_solver
    if block is None:
        raise ConfigError(
            "`solver` is a table of responses, which can make iteration 1 only: to evolve from there, name the model "
            "that answers from iteration 2 on, `solver.then: {backend: transformers, model: ...}`"
        )
    if run.solver_override is not None:
        return block.model_copy(update=_named(run.solver_override))
    theta = theta_of(run, iteration)
    if theta is not None:
        return block.model_copy(update={"model": str(run.store.solver_folder(theta)), "revision": None})
    return block


def _named(solver: str) -> dict[str, str | None]:
    """`model` and `revision` from `--solver MODEL[@REVISION]`. The name of a folder may contain an @."""
    model, at, revision = solver.rpartition("@")
    if not at or not model or Path(solver).exists():
        return {"model": solver, "revision": None}
    return {"model": model, "revision": revision}


def contrast_of(run: Run) -> Player | None:
    """The weaker model whose responses are rejected; None if the settings name none."""
    return None if run.config.contrast is None else player_of(run.config.contrast)


def creator_of(run: Run, solver: Player) -> Player:
    """The creator. It is the solver itself if the settings say `shared`."""
    if run.config.creator == "shared":
        return solver
    return player_of(run.config.creator)
