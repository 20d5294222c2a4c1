"""Compares the settings that an iteration was made with and the present settings."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from eva_data.config import Config, Consensus, TableModel
from eva_data.config.reading import parse_config
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.ledger import call_key

UNKNOWN_PATH = "unknown"
"""The text in the place of a file's path in a recorded config."""

_MAY_BE_PATHS = ("model", "recipe", "function", "metric", "method", "dataset", "tokenizer", "revision", "environment")
"""Keys whose value is a path, or a name that eva-data, Python or the Hub knows."""

_BLOCKS_OF_FIRST = ("seed", "seeds", "solver", "contrast", "reward", "pair")


def what_counts(config: Config, iteration: int) -> dict[str, Any]:
    """The settings that determine an iteration, as flat `block.key` values.

    Iteration 1 has no creator step, so settings on sampling, evolving and mixing cannot make it stale. The settings of
    the training show in the solver's fingerprint, which the manifest holds beside these values.
    """
    values = config.data()
    values.pop("name")
    values.pop("train")
    # Which prompts are held out is an input, by hash; a folder may begin to hold out what it has not used.
    values.pop("evaluate")
    # What an online run does is compared with what it began with.
    values.pop("online")
    if iteration == 1:
        values = {key: values[key] for key in _BLOCKS_OF_FIRST} | {
            "estimate": {key: values["estimate"][key] for key in ("count_truncated", "adjust_length", "unequal")}
        }
        if isinstance(config.reward, Consensus):
            # The mix keeps the anchors, and X_1 is not mixed.
            values["reward"].pop("anchors")
        if isinstance(config.solver, TableModel):
            values["reward"] = values["contrast"] = None
            values["solver"].pop("then")
    flat: dict[str, Any] = {}
    for block, value in values.items():
        flat |= {f"{block}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {block: value}
    return {key: without_folders(value, key) for key, value in flat.items()}


def without_folders(values: Any, key: str = "") -> Any:
    """Settings in their published form: the path of a model, recipe or dataset on this machine becomes `./name`."""
    if isinstance(values, Mapping):
        return {name: without_folders(value, name) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_folders(value, key) for value in values]
    if key.rpartition(".")[2] in _MAY_BE_PATHS and isinstance(values, str) and _is_local(values):
        return f"./{PurePath(values.rstrip('/')).name}"
    return values


def _is_local(name: str) -> bool:
    """Whether a name is a path: it looks like a path, or something of this name exists on this machine."""
    return name.startswith(("/", ".", "~")) or ("/" in name and Path(name).exists())


def config_of(manifest: Manifest) -> Config:
    """The config that an iteration was built with. A key that did not exist then has the meaning that it had then.

    Paths of the inputs are not recorded; they are `unknown`. Raise ConfigError if the settings are not valid.
    """
    values = copy.deepcopy(manifest.config)
    seeds, solver, reward, evolve = (_block(values.get(key)) for key in ("seeds", "solver", "reward", "evolve"))
    if seeds and not any(seeds.get(key) for key in ("dataset", "sandbox", "environment")):
        seeds["path"] = UNKNOWN_PATH
    if solver.get("backend") == "table" and not solver.get("dataset"):
        solver["path"] = UNKNOWN_PATH
    for verifier in (reward, *_blocks(reward.get("rewards"))):
        if answers := _block(verifier.get("answers")):
            answers["path"] = UNKNOWN_PATH
    if inputs := _block(_block(reward.get("programs")).get("inputs")):
        inputs["path"] = UNKNOWN_PATH
    for benchmark in _blocks(evolve.get("benchmarks")):
        benchmark["path"] = UNKNOWN_PATH
    return parse_config(values, f"the manifest of iteration {manifest.iteration}", recorded=True)


def _block(value: Any) -> dict[str, Any]:
    """The value if it is a block, else an empty block, since a manifest may hold anything."""
    return value if isinstance(value, dict) else {}


def _blocks(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def differences(config: Config, manifest: Manifest) -> list[str]:
    """The settings that determine an iteration and have changed since it was made, in words."""
    now, then = (what_counts(one, manifest.iteration) for one in (config, config_of(manifest)))
    return [
        f"`{key}` is {now.get(key)!r}, was {then.get(key)!r}"
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key)
    ]


def settled(config: Config, store: Store) -> Config:
    """The settings as they hold in this folder, where a default depends on it.

    `estimate.min_best` is null by default if an iteration is from before there was this key.
    """
    if config.estimate.min_best != "auto" or config.estimate.min_right is not None:
        return config
    try:
        estimates = [_block(store.manifest(number).config.get("estimate")) for number in store.iterations()]
    except DataError:
        # A manifest that cannot be read is told by what reads it next.
        return config
    if all("min_best" in estimate for estimate in estimates):
        return config
    return config.model_copy(update={"estimate": config.estimate.model_copy(update={"min_best": None})})


def settings_hash(manifest: Manifest) -> str:
    """One hash of the settings and models that an iteration was made with."""
    models = manifest.models.model_dump(mode="json", exclude_unset=True)
    return call_key({"settings": manifest.settings, "models": models}).hex()[:16]
