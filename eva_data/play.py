"""The game: build and train in turn, doing only what is missing."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import yaml

from eva_data.build import build_iteration, refuse_stale
from eva_data.errors import ConfigError, StaleError
from eva_data.evaluate import heldout_accuracy
from eva_data.players import solver_of
from eva_data.run import Run
from eva_data.settings import dump_config
from eva_data.store import Manifest


def play(run: Run, iteration: int, *, only: bool, train_last: bool) -> Manifest:
    """The manifest of `iteration`, after building and training whatever it needs and is missing.

    `only` raises StaleError instead of building or training for an earlier one. `train_last` also trains the
    solver on the iteration itself.
    """
    missing = _missing(run, iteration)
    if only and missing:
        raise StaleError(
            f"iteration {iteration} needs what is missing ({'; '.join(missing)}): "
            "leave `--only` out to have it made, or name a solver with `--solver`"
        )
    with run.store.locked(), run.servers:
        for number in range(1, iteration + 1):
            if number > 1 and needs_training(run, number):
                train_iteration(run, number - 1)
            manifest = build_iteration(run, number)
        if train_last and run.config.trains:
            train_iteration(run, iteration)
        if run.config.train.heldout and run.config.model_solver is not None:
            test_solvers(run)
    return manifest


def needs_training(run: Run, iteration: int) -> bool:
    """Whether theta_{t-1}, the solver of iteration t, has still to be trained."""
    return (
        run.solver_override is None
        and iteration > run.config.first_answered
        and run.config.trains
        and not run.store.solver_folder(iteration - 1).exists()
        and iteration not in run.store.iterations()
    )


def _missing(run: Run, iteration: int) -> list[str]:
    built = run.store.iterations()
    found = [f"iteration {number} is not built" for number in range(1, iteration) if number not in built]
    if iteration > 1 and needs_training(run, iteration):
        found.append(f"theta_{iteration - 1} is not trained")
    return found


def train_iteration(run: Run, iteration: int) -> Path:
    """The folder of theta_t, trained unless it is there already."""
    from eva_data.train import train

    if run.config.model_solver is None:
        raise ConfigError("`solver` is a table of responses, so there is no model to train: name one in `solver.then`")
    if not run.config.trains:
        raise ConfigError(
            f"the solver `{run.config.model_solver.model}` runs behind a URL, so there are no weights to train here: "
            "train it where they are, serve the result, and name it with `--solver` or a new `solver.revision`; or use "
            "`backend: vllm` or `transformers` with a model folder or Hub id"
        )
    run.store.manifest(iteration)
    refuse_stale(run, iteration)
    if run.store.solver_folder(iteration).exists():
        return run.store.solver_folder(iteration)
    start = solver_of(run, iteration)
    assert start.path is not None
    # Training may need the memory that a server holds.
    run.servers.stop()
    return train(
        run.config,
        iteration,
        folder=run.config.folder,
        model=start.path,
        on_progress=run.reporter.stage("train", iteration),
    )


def test_solvers(run: Run) -> pl.DataFrame:
    """Held-out accuracy of theta_0 and of every trained theta: one row per (theta, depth)."""
    results = []
    last = max(run.store.iterations(), default=0)
    for number in range(last + 1):
        if number and not run.store.solver_folder(number).exists():
            continue
        player = solver_of(Run(run.config, run.reporter), number + 1)
        accuracy = heldout_accuracy(run, player, f"theta_{number}")
        results.append(accuracy.with_columns(theta=pl.lit(number, dtype=pl.Int32)))
    table = pl.concat(results)
    table.write_csv(run.store.state / "heldout.csv")
    return table


def outline(run: Run, iteration: int, *, only: bool) -> str:
    """What `play` would do, and the resolved settings, as text."""
    built = run.store.iterations()
    steps = []
    for number in range(1, iteration + 1):
        refuse_stale(run, number)
        if number > 1 and needs_training(run, number):
            steps.append(f"train theta_{number - 1} on iteration {number - 1}")
        steps.append(f"iteration {number}: " + ("is there" if number in built else "build"))
    if only and _missing(run, iteration):
        steps = [f"refuse: {'; '.join(_missing(run, iteration))}"]
    settings = yaml.safe_dump(dump_config(run.config), sort_keys=False, allow_unicode=True)
    return "\n".join([settings, *(f"- {step}" for step in steps)])
