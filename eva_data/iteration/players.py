"""Who plays in an iteration: the solver that answers and the creator that rewrites."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from eva_data.config import Model
from eva_data.errors import ConfigError
from eva_data.iteration.run import Run
from eva_data.iteration.thetas import refuse_damaged, refuse_other
from eva_data.models.player import Player, player_of


def solver_of(run: Run, iteration: int) -> Player:
    """Who answers in `iteration`: `--solver`, else the trained theta_{t-1}, else the configured model.

    Raises DataError where the theta is damaged, and what `player_of` raises.
    """
    theta = theta_of(run, iteration)
    if theta is None:
        return player_of(solver_block(run, iteration))
    refuse_damaged(run.store, theta)
    player = player_of(solver_block(run, iteration))
    refuse_other(run.store, theta, player.fingerprint)
    return replace(player, theta=theta)


def theta_of(run: Run, iteration: int) -> int | None:
    """t - 1 where the theta_{t-1} that was trained here answers in iteration t; None where another model does."""
    here = run.solver_override is None and run.config.trains and run.store.solver_folder(iteration - 1).exists()
    return iteration - 1 if here else None


def solver_block(run: Run, iteration: int) -> Model:
    """The settings of who answers in `iteration`; nothing is resolved."""
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
