"""Finds out if an iteration still matches the settings, its inputs and the iterations before it, and what changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eva_data.config import Config, Seeds, TableModel
from eva_data.dataset.inputs import Inputs, commit_of, hash_inputs, hash_of_prompts, input_files, verifiers
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.scored_table import check_table
from eva_data.dataset.seeds import check_seeds
from eva_data.dataset.staleness import differences, without_folders
from eva_data.dataset.store import Store
from eva_data.environments.posing import version_of
from eva_data.errors import DataError, EvaError, MissingExtraError, StaleError
from eva_data.evolve.elimination.contamination import read_reference_set
from eva_data.files import sha256
from eva_data.iteration.heldout import HELDOUT_INPUT, split_seeds
from eva_data.iteration.run import Run
from eva_data.iteration.thetas import recipe_of
from eva_data.rewards.backends.verifier import fingerprint

_OURS = "eva_data."
"""The prefix of functions of eva-data itself. The version of eva-data, which the manifest holds, stands for them."""


@dataclass(frozen=True)
class Changes:
    """What has changed since an iteration was made."""

    settings: tuple[str, ...]
    inputs: tuple[str, ...]
    """Changed inputs, in words."""
    unknown: tuple[str, ...]
    """Keys of recorded inputs that are not on this machine, so that they cannot be compared."""


def inputs_now(run: Run, iteration: int) -> Inputs:
    """The files and functions that iteration t is made from, as they are now."""
    config = run.config
    if run.undecided:
        return Inputs({}, tuple(run.store.manifest(iteration).inputs))
    with run.store.checked() as checked:
        found = hash_inputs(input_files(config, iteration), checked)
    if isinstance(config.solver, TableModel) and iteration == 1:
        return found
    hashes, missing = dict(found.hashes), list(found.missing)
    if config.seeds is not None and config.seeds.environment is not None:
        try:
            hashes["seeds.environment"] = version_of(config.seeds.environment)
        except MissingExtraError:
            missing.append("seeds.environment")
    for key, block in verifiers(config).items():
        if block.function.startswith(_OURS):
            continue
        try:
            hashes[f"{key}.function"] = fingerprint(block.function, block.version).rpartition("@")[2]
        except EvaError:
            missing.append(f"{key}.function")
    return Inputs(hashes, tuple(missing))


def inputs_to_record(run: Run, iteration: int, *, theta: int | None = None) -> dict[str, str]:
    """The hashes of the inputs for the manifest of an iteration that is built now. Call this before they are read.

    A Hub dataset stays at the commit that iteration 1 recorded; iteration 1 takes the present commit. `theta` is the
    number of the theta that answers, else None: the recipe of its training is an input too.
    """
    config, hashes = run.config, dict(inputs_now(run, iteration).hashes)
    first = run.store.manifest(1).inputs if iteration > 1 else None
    blocks: dict[str, Seeds | TableModel | None] = {"seeds": config.seeds}
    if isinstance(config.solver, TableModel) and iteration == 1:
        blocks = {"solver": config.solver}
    for key, block in blocks.items():
        if block is None or block.dataset is None or f"{key}.dataset" in hashes:
            continue
        commit = commit_of(block) if first is None else first.get(f"{key}.dataset")
        if commit is not None:
            hashes[f"{key}.dataset"] = commit
    recipe = recipe_of(run.store, theta) if theta is not None else None
    hashes |= {"train.recipe": recipe} if recipe else {}
    if config.seeds is not None and config.evaluate is not None:
        heldout = split_seeds(run.config, run.store, hashes).heldout
        hashes |= {HELDOUT_INPUT: hash_of_prompts(heldout)} if heldout.height else {}
    return hashes


def changes(run: Run, manifest: Manifest) -> Changes:
    """The settings and inputs of an iteration that have changed since it was made.

    An input that the manifest does not name counts as unchanged. An input that is not on this machine is unknown.
    """
    missing = inputs_now(run, manifest.iteration).missing
    return Changes(
        tuple(differences(run.config, manifest)),
        tuple(changed_inputs(run, manifest)),
        tuple(key for key in manifest.inputs if key in missing),
    )


def changed_inputs(run: Run, manifest: Manifest) -> list[str]:
    """The inputs whose content has changed since an iteration was made, in words."""
    iteration = manifest.iteration
    hashes = dict(inputs_now(run, iteration).hashes) | _recipe_now(run.config, manifest)
    then, now = _held_out(manifest.config.get("evaluate")), _held_out(run.config.data()["evaluate"])
    if HELDOUT_INPUT in manifest.inputs and then != now:
        return [f"`evaluate.heldout` is {now!r}, was {then!r}"]
    return [
        f"`{key}` holds other content than iteration {iteration} was built from"
        for key, then in manifest.inputs.items()
        if hashes.get(key, then) != then and not (key == "seeds.path" and _same_prompts(run))
    ]


def refuse_unreadable(config: Config, iteration: int, *, download: bool) -> None:
    """Raise DataError if a file that iteration t needs is missing, cannot be read or lacks its column.

    Without `download`, Hub datasets are not tried.
    """
    if isinstance(config.solver, TableModel) and (download or config.solver.dataset is None):
        check_table(config.solver)
    if config.seeds is not None and (download or config.seeds.dataset is None):
        check_seeds(config.seeds, config.seed)
    if iteration > 1:
        for benchmark in config.evolve.benchmarks:
            read_reference_set(benchmark.name, benchmark.path, column=benchmark.column)


def _held_out(evaluate: Any) -> Any:
    """The number of held-out seeds in a block; 0 if there is no block."""
    return evaluate.get("heldout") if isinstance(evaluate, dict) else 0


def _same_prompts(run: Run) -> bool:
    """Whether a changed file holds the same prompts that iteration 1 began with, in another order or format."""
    seeds = run.config.seeds
    if seeds is None or seeds.per_iteration is not None:
        # Only the prompts of iteration 1 have a hash.
        return False
    training = split_seeds(run.config, run.store, {}).training
    return hash_of_prompts(training) == run.store.manifest(1).inputs.get("prompts")


def _recipe_now(config: Config, manifest: Manifest) -> dict[str, str]:
    """The recipe of the settings if it is the user's own and has the name in the manifest, else empty."""
    path = Path(config.train.recipe).expanduser()
    recorded = (manifest.config.get("train") or {}).get("recipe")
    if path.suffix not in (".yaml", ".yml") or without_folders(str(path), "recipe") != recorded:
        return {}
    return {"train.recipe": sha256(path)} if path.is_file() else {}


def refuse_stale(run: Run, iteration: int) -> None:
    """Raise StaleError if a finished iteration was made with other settings or from other inputs than the present ones.

    Raise DataError if its tables were changed, or if it was not built from the iteration before it.
    """
    if iteration not in run.store.iterations():
        return
    found = changes(run, run.store.manifest(iteration))
    if found.settings or found.inputs:
        what = " and ".join(name for name, of in (("settings", found.settings), ("inputs", found.inputs)) if of)
        raise StaleError(
            f"iteration {iteration} in {run.store.folder} was made with other {what}: "
            f"{'; '.join((*found.settings, *found.inputs))}; set them back, or build into a folder of its own with "
            f"`--set folder=...` (`--set ledger={run.ledger}` keeps what is paid)"
        )
    run.store.refuse_changed(iteration)
    refuse_torn(run.store, iteration)


def refuse_torn(store: Store, iteration: int) -> None:
    """Raise DataError if an iteration was not built from a revision of the iteration before it in this folder."""
    previous = store.manifest(iteration).previous
    if previous is None or iteration - 1 not in store.iterations():
        return
    revisions = (store.at(iteration - 1, revision) for revision in store.revisions(iteration - 1))
    if all(previous.files != revised.manifest(iteration - 1).files for revised in revisions):
        raise DataError(
            f"iteration {iteration} in {store.folder} was not built from the iteration {iteration - 1} beside it: "
            f"restore that one, or build iteration {iteration} again in a folder of its own with `--set folder=...`"
        )
