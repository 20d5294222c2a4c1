"""Trains the next solver: one run of `train/preference.py` in a process of its own, resumed after a kill.

theta_t is theta_{t-1} trained on the pairs of iteration t alone, or theta_0 on those of all iterations up to t (the
paper's table 6). It appears under its name only when it is whole, and is never trained again: other weights would void
every answer kept of it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from eva_data.config import Config
from eva_data.dataset.store import Store
from eva_data.errors import MissingExtraError
from eva_data.jobs.job import Progress
from eva_data.project import train_dir
from eva_data.training.launch import launch_arguments, run_script, script_arguments, take_model
from eva_data.training.recipes import algorithm_of, find_recipe, own_recipe, refuse_another, split_of


def train(
    config: Config,
    iteration: int,
    *,
    folder: Path,
    model: Path | str,
    on_progress: Progress | None = None,
    finish: Callable[[Path], None] | None = None,
) -> Path:
    """Train `model` on the pairs of `iteration` and return theta_t's folder, at once where it exists already.

    `model` is theta_{t-1}, or theta_0 with `train.mode: scratch`, a folder or a Hub id. `on_progress` is told
    (optimizer steps done, all of them), and `finish` is given the trained folder before it gets its name. A training
    that was cut off goes on from its last checkpoint.

    Raises StaleError where the iteration is not built or theta_t was trained otherwise, DataError where it has no
    pairs or they are not those that were built, ConfigError for an unknown recipe, MissingExtraError without TRL, and
    JobError, with the reason and the log, where training fails.
    """
    store = Store(folder.resolve())
    solver = store.solver_folder(iteration)
    if solver.exists():
        refuse_another(config, store, iteration)
        return solver
    recipe = find_recipe(config.train.recipe)
    # A wrong one fails here, not after half a minute of imports.
    algorithm_of(recipe)
    split = split_of(config, store, iteration)
    for package in ("trl", "accelerate", "peft"):
        if find_spec(package) is None:
            raise MissingExtraError.of(package, "train")
    job = store.job_folder(iteration, "train")
    job.mkdir(parents=True, exist_ok=True)
    arguments, environment = launch_arguments(config, os.environ)
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", *arguments),
        *(str(train_dir() / "preference.py"), "--config", str(recipe)),
        *("--dataset", str(store.folder), "--split", split),
        *("--model_name_or_path", str(model.resolve()) if isinstance(model, Path) else model),
        *("--output_dir", str(job / "output"), "--progress", str(job / "progress.json"), "--resume", "true"),
        *("--seed", str(config.seed), *script_arguments(config)),
    ]
    environment |= {"HF_DATASETS_CACHE": str(job / "datasets")}
    log = store.log(f"train-iter_{iteration}")
    run_script(command, job, log, environment, f"theta_{iteration}", on_progress)
    take_model(job / "output", solver, finish, recipe_sha256=own_recipe(config))
    shutil.rmtree(job)
    return solver
