"""What made an iteration: the record beside its tables, by which it is checked, compared and built again."""

from __future__ import annotations

import copy
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

import polars as pl

from eva_data import __version__
from eva_data.config import Config, TableModel
from eva_data.config.reading import parse_config
from eva_data.ledger import call_key
from eva_data.tables.flow import Flow

_LIBRARIES = ("distilabel", "transformers", "torch", "trl", "polars", "pyarrow", "datasets")

UNKNOWN_PATH = "unknown"
"""What stands in a recorded config where the path of a file was."""

_MAY_BE_PATHS = ("model", "recipe", "function")
"""Keys that hold a name on the Hub or of a module, or a path."""

_BLOCKS_OF_FIRST = ("seed", "seeds", "solver", "reward", "pair")


def what_counts(config: Config, iteration: int) -> dict[str, Any]:
    """The settings that determine an iteration, as flat `block.key` values.

    Iteration 1 has no creator step, so how prompts are sampled, evolved and mixed cannot make it stale. How the
    solver is trained shows in the solver's fingerprint, which the manifest holds beside these.
    """
    values = config.data()
    values.pop("name")
    values.pop("train")
    if iteration == 1:
        values = {key: values[key] for key in _BLOCKS_OF_FIRST} | {
            "estimate": {key: values["estimate"][key] for key in ("count_truncated", "unequal")}
        }
        if isinstance(config.solver, TableModel):
            values["reward"] = None
            values["solver"].pop("then")
    flat: dict[str, Any] = {}
    for block, value in values.items():
        flat |= {f"{block}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {block: value}
    return {key: without_folders(value, key) for key, value in flat.items()}


def without_folders(values: Any, key: str = "") -> Any:
    """Settings as they are published: of a model or recipe that lies on this machine only its own name, `./name`."""
    if isinstance(values, Mapping):
        return {name: without_folders(value, name) for name, value in values.items()}
    if isinstance(values, list):
        return [without_folders(value, key) for value in values]
    if key.rpartition(".")[2] in _MAY_BE_PATHS and isinstance(values, str) and values.startswith(("/", ".", "~")):
        return f"./{PurePath(values).name}"
    return values


def config_of(manifest: Mapping[str, Any]) -> Config:
    """The config that an iteration was built with; where its inputs lay is not recorded, and is called `unknown`."""
    values = copy.deepcopy(manifest["config"])
    seeds, solver, reward = values["seeds"], values["solver"], values["reward"] or {}
    if seeds and not seeds["dataset"] and not seeds["sandbox"]:
        seeds["path"] = UNKNOWN_PATH
    if solver["backend"] == "table" and not solver["dataset"]:
        solver["path"] = UNKNOWN_PATH
    for verifier in (reward, *reward.get("rewards", ())):
        if verifier.get("answers"):
            verifier["answers"]["path"] = UNKNOWN_PATH
    for benchmark in values["evolve"]["benchmarks"]:
        benchmark["path"] = UNKNOWN_PATH
    return parse_config(values, "the manifest")


def differences(config: Config, manifest: Mapping[str, Any]) -> list[str]:
    """What of the settings that count for an iteration is not what it was made with, in words."""
    now, then = what_counts(config, manifest["iteration"]), without_folders(manifest["settings"])
    return [
        f"`{key}` is {now.get(key)!r}, was {then.get(key)!r}"
        for key in sorted(now.keys() | then.keys())
        if now.get(key) != then.get(key)
    ]


def compose(
    config: Config,
    iteration: int,
    *,
    tables: Mapping[str, pl.DataFrame],
    flows: Sequence[Flow],
    models: Mapping[str, str | None],
    licences: Mapping[str, str],
    previous: Mapping[str, Any] | None,
    inputs: Mapping[str, str],
    notes: Sequence[str],
    evolving: Mapping[str, Any] | None,
    reward_scales: Mapping[str, Sequence[float]],
    bills: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The manifest of an iteration but for its files. No time and no path of this machine is in it."""
    prompts, responses = tables["prompts"], tables["responses"]
    fresh = responses.filter(~pl.col("reused"))
    return {
        "eva_data": __version__,
        "config": without_folders(config.data() | {"name": config.name}),
        "settings": what_counts(config, iteration),
        "models": dict(models),
        "licences": dict(licences),
        "previous": _consumed(previous) if previous else None,
        "inputs": dict(inputs),
        "counts": {
            "prompts": prompts.height,
            "evolved": prompts.filter(pl.col("mix_role") == "evolved").height,
            "pairs": tables["preferences"].height,
            "rejects": tables["rejects"].height,
            "rejects_by_reason": rejects_by_reason(tables["rejects"]),
        },
        "flow": [flow.record() for flow in flows],
        "evolving": dict(evolving) if evolving else None,
        "tokens": {
            "responses_prompt": fresh["prompt_tokens"].sum(),
            "responses_completion": fresh["completion_tokens"].sum(),
            "evolutions_completion": tables["evolutions"]["completion_tokens"].sum(),
        },
        "reward_scales": {name: list(scale) for name, scale in reward_scales.items()},
        "spent": list(bills),
        "informativeness": _summary(tables["informativeness"], prompts, config.estimate.metric),
        "notes": list(notes),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _LIBRARIES},
    }


def _consumed(previous: Mapping[str, Any]) -> dict[str, Any]:
    """What the next iteration records of the one it was built from; of a revision, which."""
    record = {"settings_hash": settings_hash(previous), "files": previous["files"]}
    return record | ({"revision": previous["revision"]} if "revision" in previous else {})


def settings_hash(manifest: Mapping[str, Any]) -> str:
    """One hash of the settings and models that an iteration was made with."""
    return call_key({"settings": manifest["settings"], "models": manifest["models"]}).hex()[:16]


def rejects_by_reason(rejects: pl.DataFrame) -> dict[str, dict[str, int]]:
    # What follows a colon is the particular case: an error's text, a duplicate's similarity.
    reason = pl.col("reason").str.split(": ").list.first()
    counts = rejects.group_by("stage", reason.alias("reason")).len().sort("stage", "reason")
    found: dict[str, dict[str, int]] = {}
    for stage, cause, number in counts.iter_rows():
        found.setdefault(stage, {})[cause] = number
    return found


def _summary(informativeness: pl.DataFrame, prompts: pl.DataFrame, metric: str) -> list[dict[str, Any]]:
    """Mean and quartiles of the metric that sampling uses, for evolved and other prompts of X_t."""
    group = pl.when(pl.col("mix_role") == "evolved").then(pl.lit("evolved")).otherwise(pl.lit("original"))
    value = pl.col(metric)
    summary = (
        informativeness.filter(pl.col("stage") == "respond")
        .join(prompts.select("prompt_id", "mix_role"), on="prompt_id")
        .group_by(group.alias("prompts"))
        .agg(
            metric=pl.lit(metric).first(),
            count=value.count(),
            mean=value.mean(),
            **{name: value.quantile(q, "linear") for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75))},
        )
        .sort("prompts")
    )
    return summary.to_dicts()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
