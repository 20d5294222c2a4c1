"""Hashes what an iteration is made from beside its settings: the content of files, and the commits of Hub datasets.

A manifest holds each hash under the key of the settings that names the input, and it holds no path. A file may move:
its content alone decides whether an iteration is still what the settings describe.
"""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl

from eva_data.config import Code, Config, Consensus, Seeds, Several, TableModel, Verifier
from eva_data.dataset.checked import Checked

_COMMIT = 40
"""Number of hex digits of a commit; the hash of a folder has more."""

_IDS_AT_ONCE = 100_000

Block = TypeVar("Block", Seeds, TableModel)


@dataclass(frozen=True)
class Inputs:
    """The inputs of an iteration as they are now."""

    hashes: Mapping[str, str]
    """Key of the settings -> hash of the content."""
    missing: tuple[str, ...]
    """Keys of inputs that are not on this machine or cannot be read."""


def hash_inputs(files: Mapping[str, Path], checked: Checked) -> Inputs:
    """The hashes of these files and folders."""
    found = {key: _content(path.expanduser(), checked) for key, path in files.items()}
    return Inputs(
        {key: content for key, content in found.items() if content is not None},
        tuple(key for key, content in found.items() if content is None),
    )


def input_files(config: Config, iteration: int) -> dict[str, Path]:
    """The files and local folders that iteration t is made from, by their keys in the settings."""
    table = config.solver if isinstance(config.solver, TableModel) else None
    if table is not None and iteration == 1:
        return _sources("solver", table)
    files = _sources("seeds", config.seeds) if config.seeds is not None else {}
    files |= {f"{key}.answers": of.path for key, block in verifiers(config).items() if (of := block.reference)}
    if isinstance(config.reward, Consensus | Code) and config.reward.answers:
        files["reward.answers"] = config.reward.answers.path
    if isinstance(config.reward, Consensus) and config.reward.programs and config.reward.programs.inputs:
        files["reward.programs.inputs"] = config.reward.programs.inputs.path
    if iteration > 1:
        files |= {f"evolve.benchmarks.{each.name}": each.path for each in config.evolve.benchmarks}
    return files


def _sources(key: str, block: Seeds | TableModel) -> dict[str, Path]:
    if block.path is not None:
        return {f"{key}.path": block.path}
    # `datasets` accepts a folder of this machine in the place of a dataset's name.
    return {f"{key}.dataset": Path(block.dataset)} if block.dataset and Path(block.dataset).is_dir() else {}


def verifiers(config: Config) -> dict[str, Verifier]:
    """Every reward that is a function, by its key in the settings."""
    if isinstance(config.reward, Several):
        blocks = {f"reward.rewards[{number}]": block for number, block in enumerate(config.reward.rewards)}
        return {key: block for key, block in blocks.items() if isinstance(block, Verifier)}
    return {"reward": config.reward} if isinstance(config.reward, Verifier) else {}


def _content(path: Path, checked: Checked) -> str | None:
    """The hash of a file, or of all files of a folder or a pattern; None if there is nothing to read."""
    try:
        if path.is_file():
            return checked.sha256(path)
        if path.is_dir():
            shown = {str(each.relative_to(path)): each for each in path.rglob("*") if each.is_file()}
            # A name that begins with a dot, such as `.git` or `.cache`, is not data.
            files = {name: each for name, each in shown.items() if not name.startswith(".") and "/." not in name}
        else:
            files = {Path(each).name: Path(each) for each in glob.glob(str(path)) if Path(each).is_file()}
        digest = hashlib.sha256()
        for name in sorted(files):
            digest.update(f"{name} {checked.sha256(files[name])}\n".encode())
    except OSError:
        return None
    return digest.hexdigest() if files else None


def hash_of_prompts(prompts: pl.DataFrame | pl.LazyFrame) -> str:
    """The hash of the prompts that an iteration started from. It does not depend on their file."""
    ids = prompts.lazy().select(pl.col("prompt_id").sort()).collect(engine="streaming")
    digest = hashlib.sha256()
    for number, part in enumerate(ids.iter_slices(_IDS_AT_ONCE)):
        digest.update(("\n" * bool(number) + "\n".join(part["prompt_id"])).encode())
    return digest.hexdigest()


def commit_of(block: Seeds | TableModel) -> str | None:
    """The present commit of a Hub dataset at the block's revision; None if the Hub does not say."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if block.dataset is None or Path(block.dataset).is_dir():
        return None
    try:
        return HfApi().dataset_info(block.dataset, revision=block.revision).sha
    except (HfHubHTTPError, HFValidationError, httpx.HTTPError, OSError):
        # The dataset may still be in the cache. The reader will say if it cannot be read.
        return None


def pinned(block: Block, key: str, inputs: Mapping[str, str]) -> Block:
    """The block with its Hub dataset at the recorded commit, whatever the branch points to now."""
    commit = inputs.get(f"{key}.dataset", "")
    return block.model_copy(update={"revision": commit}) if len(commit) == _COMMIT and block.dataset else block
