"""Plays the game: builds and trains in turn, and does only what is missing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import polars as pl
import yaml

from eva_data.config.consequences import consequences
from eva_data.config.reading import dump_config
from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, StaleError
from eva_data.evaluation.evaluate import SANDBOX_SET, Asked, evaluate, sets_of, settings_of, usual_opponents
from eva_data.foreign import visible
from eva_data.game.accept import refuse_rejected, refuse_unacceptable, refuse_unmeasurable
from eva_data.game.ahead import alone, from_scratch, stages_ahead, to_train, untrained
from eva_data.game.retry import RetryResult, retry_rejects
from eva_data.iteration.build import build_iteration
from eva_data.iteration.players import solver_of, theta_of
from eva_data.iteration.ready import refuse_unready
from eva_data.iteration.run import Run
from eva_data.iteration.stale import refuse_stale
from eva_data.report.card import write_card
from eva_data.training.recipes import other_reference, refuse_another


def play(run: Run, iteration: int, *, only: bool, train_last: bool) -> Manifest:
    """Build `iteration` and everything missing that it needs, and return its manifest.

    With `only`, raise StaleError instead of building or training an earlier iteration. `train_last` also trains the
    solver on the iteration itself.
    """
    missing = _missing(run, iteration)
    if only and missing:
        raise StaleError(
            f"iteration {iteration} needs what is missing ({'; '.join(missing)}): "
            "leave `--only` out to have it made, or name a solver with `--solver`"
        )
    # This comes before anything else, even if a training goes first.
    refuse_unready(run, iteration, download=True)
    refuse_unmeasurable(run)
    if run.config.trains:
        other_reference(run.config, iteration)
    with run.store.locked(), run.servers:
        run.reporter.foresee(stages_ahead(run, iteration, train_last=train_last))
        for number in range(1, iteration + 1):
            for theta in to_train(run, number):
                train_accepted(run, theta)
            if number not in run.store.iterations() and theta_of(run, number) is not None:
                # It may have been trained by a command that knows no bounds, or that was cut off.
                refuse_unacceptable(run, number - 1)
            manifest = build_iteration(run, number)
        if train_last and run.config.trains and iteration >= run.config.first_answered:
            train_accepted(run, iteration)
        evaluate_thetas(run)
    return manifest


def retry(run: Run, iteration: int) -> RetryResult:
    """Ask again what a server gave up on in a finished iteration. Raise the errors of `retry_rejects`."""
    with run.store.locked(), run.servers:
        return retry_rejects(run, iteration)


def _missing(run: Run, iteration: int) -> list[str]:
    built = run.store.iterations()
    found = [f"iteration {number} is not built" for number in range(1, iteration) if number not in built]
    return found + [f"theta_{theta} is not trained" for theta in to_train(run, iteration)]


def train_accepted(run: Run, theta: int) -> None:
    """Train theta_t unless it is there, and stop where it is outside the bounds of `train.accept`.

    A theta that has answered already is not compared with bounds again.
    """
    refuse_rejected(run, theta)
    train_iteration(run, theta)
    if theta + 1 not in run.store.iterations():
        refuse_unacceptable(replace(run, solver_override=None), theta)


def train_iteration(run: Run, iteration: int) -> Path:
    """Train theta_t, and before it every missing theta that it is trained from, and return its folder."""
    if run.config.model_solver is None:
        raise ConfigError("`solver` is a table of responses, so there is no model to train: name one in `solver.then`")
    if not run.config.trains:
        raise ConfigError(
            f"the solver `{run.config.model_solver.model}` runs behind a URL, so there are no weights to train here: "
            "train it where they are, serve the result, and name it with `--solver` or a new `solver.revision`; or use "
            "`backend: vllm` or `transformers` with a model folder or Hub id"
        )
    if iteration < run.config.first_answered:
        raise ConfigError(
            f"iteration {iteration} holds the responses of a table, so there is no solver of its own to train on it: "
            "build iteration 2 and train on that, with `train.mode: scratch` on both"
        )
    run.store.manifest(iteration)
    refuse_stale(run, iteration)
    solver = run.store.solver_folder(iteration)
    if solver.exists():
        refuse_another(run.config, run.store, iteration)
    for theta in untrained(run, iteration):
        refuse_stale(run, theta)
        _train(run, theta)
    return solver


def _train(run: Run, iteration: int) -> Path:
    from eva_data.report.model_card import finish_model
    from eva_data.training.offline import train

    source = run.config.first_answered if from_scratch(run) else iteration
    start, answered = solver_of(run, source), run.store.manifest(source).models.solver
    initial = solver_of(run, run.config.first_answered) if other_reference(run.config, iteration) else None
    assert start.path is not None
    if start.fingerprint != answered:
        run.note(
            f"iteration {source} was answered by {answered}, and theta_{iteration} is trained from "
            f"{start.fingerprint}: what follows will not be, byte for byte, what follows there"
        )
    # The card lists the files for the training, and anybody may have edited it.
    write_card(run.store, run.config.publish.licence)
    # The training may need the memory that a server holds.
    run.servers.stop()
    return train(
        run.config,
        iteration,
        folder=run.config.folder,
        model=start.path,
        initial=initial.path if initial else None,
        on_progress=run.reporter.stage("train", iteration),
        finish=partial(
            finish_model, run.store, iteration, base=start, initial=initial, dataset=run.config.publish.repo
        ),
    )


def evaluate_thetas(run: Run) -> None:
    """Evaluate theta_0 and every trained theta on the sets of the settings. Finished evaluations are not repeated.

    The sandbox's accuracy by depth is also written to `.eva/heldout.csv`, one row per (theta, depth).
    """
    sets = sets_of(run)
    if not sets or not settings_of(run.config).after_training or run.config.model_solver is None:
        return
    plain = replace(run, solver_override=None)
    for number in (0, *trained_thetas(run)):
        asked = Asked(f"theta_{number}", usual_opponents(f"theta_{number}"), sets if number else alone(sets))
        if asked.sets:
            evaluate(plain, asked)
    if run.config.train.heldout:
        write_heldout(run.store)


def trained_thetas(run: Run) -> list[int]:
    """The numbers of the trained thetas, ascending."""
    return [number for number in run.store.iterations() if run.store.solver_folder(number).exists()]


def write_heldout(store: Store) -> None:
    """Write the numbers of right answers to the sandbox's held-out prompts, by theta and depth."""
    rows = read_rows(store).filter((pl.col("set") == SANDBOX_SET) & pl.col("iteration").is_not_null())
    record = read_record(store)
    by_function = [each for each in (record.evaluations if record else ()) if each.rule == "verifier"]
    latest = {(each.theta, each.set): each.key for each in by_function}
    table = (
        rows.filter(pl.col("evaluation").is_in(sorted(latest.values())))
        .group_by(depth=pl.col("category").str.strip_prefix("depth ").cast(pl.Int32), theta=pl.col("iteration"))
        .agg(prompts=pl.len().cast(pl.Int32), right=(pl.col("score") == 1).sum().cast(pl.Int32))
        .select("depth", "prompts", "right", "theta")
        .sort("theta", "depth")
    )
    table.write_csv(store.state / "heldout.csv")


def outline(run: Run, iteration: int, *, only: bool) -> str:
    """The resolved settings, what they run, read, ask and send, and the steps of `play`, as text."""
    run.store.refuse_half_pulled()
    refuse_unready(run, iteration)
    built = run.store.iterations()
    steps = []
    for number in range(1, iteration + 1):
        refuse_stale(run, number)
        training = [f"train theta_{theta} on iteration {theta}" for theta in to_train(run, number)]
        steps += [step for step in training if step not in steps]
        steps.append(f"iteration {number}: " + ("is there" if number in built else "build"))
        if number not in built:
            refuse_unready(run, number)
    if only and _missing(run, iteration):
        steps = [f"refuse: {'; '.join(_missing(run, iteration))}"]
    settings = yaml.safe_dump(dump_config(run.config), sort_keys=False, allow_unicode=True)
    would = [f"- {line}" for line in consequences(run.config)]
    if run.solver_override is not None:
        would.append(f"- `--solver` loads or asks the model {run.solver_override}")
    return "\n".join(
        [visible(settings, lines=True), "What it runs, reads, asks and sends:", *would, "", "Steps:"]
        + [f"- {step}" for step in steps]
    )
