"""Finds the prompts that an iteration starts from, as far as this machine knows them. It asks and downloads nothing.

A Hub dataset is read offline. This needs a process of its own, `python -m eva_data.game.starting`, with a config as
JSON on its standard input.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eva_data.config import Config, TableModel
from eva_data.dataset.scored_table import read_table, spool_table
from eva_data.dataset.seeds import read_seeds, seed_block
from eva_data.iteration.heldout import heldout_size
from eva_data.iteration.run import Run

CHARACTERS_PER_TOKEN = 4
UNKNOWN = 1000
"""Number of prompts to plan for if it is unknown."""


@dataclass(frozen=True)
class Start:
    """Facts about X_{t-1}, or about X_1 in iteration 1 and if X_{t-1} is not built yet."""

    count: int
    tokens: int | None
    """Mean length of a prompt, at 4 characters a token; None if no prompt can be read."""
    known: str
    """The source of these numbers, in words for the user."""


def starting_prompts(run: Run, iteration: int) -> Start:
    """The number and length of the prompts that an iteration starts from.

    Raise DataError if there is a file of prompts and it cannot be used.
    """
    if iteration > 1 and iteration - 1 in run.store.iterations():
        built = run.store.scan("prompts", iteration - 1)
        return Start(*measure(built), f"the prompts of iteration {iteration - 1} in {run.store.folder}")
    config = run.config
    source = config.solver if isinstance(config.solver, TableModel) else config.seeds
    assert source is not None
    read = _measure_first(config) if source.dataset is None else _read_offline(config)
    name = source.dataset or source.path or "the sandbox's world"
    if read is not None:
        return Start(*read, f"{name}")
    missing = f"{name} is not on this machine"
    if config.seeds is not None and config.seeds.per_iteration is not None:
        return Start(config.seeds.per_iteration, None, f"`seeds.per_iteration`; {missing}")
    return Start(UNKNOWN, None, f"{missing}, so how many there are is unknown: this is per {UNKNOWN}")


def first_prompts(config: Config) -> pl.DataFrame:
    """PROMPTS of X_1, drawn as in the build."""
    if isinstance(config.solver, TableModel):
        return read_table(config.solver).prompts
    assert config.seeds is not None
    seeds, _ = read_seeds(config.seeds, config.seed)
    training = seeds.height if config.seeds.sandbox else seeds.height - heldout_size(config.evaluate, seeds.height)
    return seed_block(seeds.head(training), 1, config.seeds.per_iteration)


def _measure_first(config: Config) -> tuple[int, int]:
    """The result of `measure` for X_1."""
    if not isinstance(config.solver, TableModel):
        return measure(first_prompts(config).lazy())
    with tempfile.TemporaryDirectory() as folder:
        return measure(spool_table(config.solver, Path(folder)).prompts)


def measure(prompts: pl.LazyFrame) -> tuple[int, int]:
    """The number of prompts and their mean length in tokens, rounded up."""
    characters = pl.col("prompt").list.eval(pl.element().struct.field("content").str.len_chars()).list.sum()
    count, mean = prompts.select(pl.len(), mean=characters.mean()).collect(engine="streaming").row(0)
    return count, math.ceil((mean or 0) / CHARACTERS_PER_TOKEN)


def _read_offline(config: Config) -> tuple[int, int] | None:
    """The result of `measure` for X_1, from datasets that were downloaded earlier; None if they lack it."""
    child = subprocess.run(
        [sys.executable, "-m", "eva_data.game.starting"],
        input=config.model_dump_json(),
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    if child.returncode != 0:
        return None
    count, tokens = json.loads(child.stdout.splitlines()[-1])
    return count, tokens


if __name__ == "__main__":
    print(json.dumps(_measure_first(Config.model_validate_json(sys.stdin.read()))))
