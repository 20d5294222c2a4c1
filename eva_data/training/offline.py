"""Trains the next solver: runs `train/preference.py` in a process of its own, and resumes it after a kill.

theta_t is theta_{t-1} trained on the pairs of iteration t alone, or theta_0 trained on the pairs of iterations 1 to t
(paper: table 6). It gets its name only when it is whole, and a finished theta is never trained again: with other
weights, its answers in the ledger would be void.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from eva_data.config import Config, Pairwise
from eva_data.dataset.store import Store
from eva_data.errors import MissingExtraError
from eva_data.jobs.job import Progress
from eva_data.project import train_dir
from eva_data.training.launch import run_script, script_arguments, take_model
from eva_data.training.recipes import (
    algorithm_of,
    find_recipe,
    other_reference,
    own_recipe,
    refuse_another,
    replay_split_of,
    split_of,
)


def train(
    config: Config,
    iteration: int,
    *,
    folder: Path,
    model: Path | str,
    initial: Path | str | None = None,
    on_progress: Progress | None = None,
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """Train `model` on the pairs of `iteration`, unless theta_t exists already, and return theta_t's folder.

    `model` is a folder or Hub id of theta_{t-1}, or of theta_0 with `train.mode: scratch`. `initial` is theta_0, which
    `train.reference: initial` needs. `on_progress` is told
    (finished optimizer steps, all steps). `finish` is called with the trained folder before it gets its name. A
    training that was cut off goes on from its last checkpoint.

    Raise StaleError if the iteration is not built, or if theta_t was trained in another way. Raise
    DataError if the iteration has no pairs or they were changed after the build, ConfigError for an unknown recipe,
    MissingExtraError without TRL, and JobError, with the cause and the log, if the training fails.
    """
    store = Store(folder.resolve())
    solver = store.solver_folder(iteration)
    if solver.exists():
        refuse_another(config, store, iteration)
        return solver
    recipe = find_recipe(config.train.recipe)
    # A wrong recipe fails here, and not after half a minute of imports.
    algorithm = algorithm_of(recipe)
    split = split_of(config, store, iteration)
    more = _beside(config, store, iteration, initial)
    for package in ("trl", "accelerate", "peft"):
        if find_spec(package) is None:
            raise MissingExtraError.of(package, "train")
    job = store.job_folder(iteration, "train")
    job.mkdir(parents=True, exist_ok=True)
    script = [
        *(str(train_dir() / "preference.py"), "--config", str(recipe)),
        *("--dataset", str(store.folder), "--split", split),
        *("--model_name_or_path", _named(model), *more),
        *("--output_dir", str(job / "output"), "--progress", str(job / "progress.json"), "--resume", "true"),
        *("--seed", str(config.seed), *script_arguments(config)),
        *(win_probabilities(config) if algorithm == "sppo" else ()),
    ]
    environment = os.environ | {"HF_DATASETS_CACHE": str(job / "datasets")}
    log = store.log(f"train-iter_{iteration}")
    run_script(config, script, job, log, environment, f"theta_{iteration}", on_progress)
    take_model(job / "output", solver, finish, recipe_sha256=own_recipe(config))
    shutil.rmtree(job)
    return solver


def _beside(config: Config, store: Store, iteration: int, initial: Path | str | None) -> list[str]:
    """The arguments on replayed pairs and on a reference model other than the model that is trained."""
    earlier = replay_split_of(config, store, iteration)
    more = ["--replay", str(config.train.replay), "--replay_split", earlier] if earlier else []
    if other_reference(config, iteration):
        assert initial is not None
        more += ["--reference_model", _named(initial)]
    return more


def _named(model: Path | str) -> str:
    return str(model.resolve()) if isinstance(model, Path) else model


def win_probabilities(config: Config) -> tuple[str, ...]:
    """Since which iteration the scores of pairs are probabilities of winning: if one pairwise reward gave them."""
    if not isinstance(config.reward, Pairwise):
        return ()
    return ("--win_probabilities_since", str(config.first_answered))
