"""Sets seeds aside for evaluation. They are never trained on or evolved, and no evolved prompt repeats them.

The held-out seeds are the last seeds of the drawn order, so that a folder can start to hold out seeds that its
iterations have not used. A seed that nearly repeats a training seed is not held out: its whole cluster is trained on.
Tasks of an environment are worded alike, so there only the equal ones count as repeated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from eva_data.config import Config, Evaluate
from eva_data.dataset.inputs import pinned
from eva_data.dataset.seeds import Note, as_prompts, read_seeds, unheard
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError
from eva_data.evolve.elimination.near_duplicates import near_duplicates
from eva_data.files import write_json
from eva_data.iteration.run import Run
from eva_data.ledger import call_key
from eva_data.tables.schemas import CARRIED

LEAST, SHARE, MOST = 500, 0.05, 0.2
"""How many seeds are held out by default: at least LEAST, else the share SHARE, and never more than the share MOST."""

SIMILAR = 0.9
"""Jaccard similarity from which two prompts belong to the same cluster, if `evolve.near_duplicate` is off."""

HELDOUT_INPUT = "heldout"
"""Key in a manifest's `inputs` for the hash of the held-out prompts."""


@dataclass(frozen=True)
class SeedPrompts:
    """The usable seeds of a source, in their drawn order."""

    training: pl.DataFrame
    """`prompt_id`, `prompt` and `source`, one row per prompt."""
    heldout: pl.DataFrame
    """The same columns; no rows if nothing is held out."""
    rejects: pl.DataFrame


def split_seeds(config: Config, store: Store, inputs: Mapping[str, str], note: Note = unheard) -> SeedPrompts:
    """The seeds of the settings, at the commit that `inputs` record, split into training and held-out prompts.

    Raise DataError if they cannot be read, and ConfigError if more seeds are held out than exist, or if the iterations
    of the folder have used them all.
    """
    assert config.seeds is not None
    seeds, rejects = read_seeds(pinned(config.seeds, "seeds", inputs), config.seed, note)
    size = heldout_size(config.evaluate, seeds.height)
    if size == 0 or config.seeds.sandbox is not None:
        return SeedPrompts(seeds, seeds.clear(), rejects)
    ids = _heldout_ids(config, store, seeds, size)
    held = pl.col("prompt_id").is_in(ids)
    return SeedPrompts(seeds.filter(~held), seeds.filter(held), rejects)


def heldout_prompts(run: Run) -> pl.DataFrame:
    """`prompt_id` and `prompt` of the held-out seeds, one row per prompt; no rows if nothing is held out."""
    if run.config.seeds is None:
        return pl.DataFrame(schema={"prompt_id": pl.String, "prompt": pl.Null})
    inputs = run.store.manifest(1).inputs if 1 in run.store.iterations() else {}
    return split_seeds(run.config, run.store, inputs).heldout.select("prompt_id", "prompt")


def heldout_carried(run: Run) -> pl.DataFrame:
    """`prompt_id`, `answer` and `info` of the held-out seeds of an environment, one row per prompt."""
    inputs = run.store.manifest(1).inputs if 1 in run.store.iterations() else {}
    return split_seeds(run.config, run.store, inputs).heldout.select("prompt_id", *CARRIED)


def heldout_size(evaluate: Evaluate | None, seeds: int) -> int:
    """How many of `seeds` seeds are held out; 0 without a block `evaluate`.

    Raise ConfigError if no seed would be left.
    """
    if evaluate is None:
        return 0
    if evaluate.heldout is None:
        return min(max(LEAST, math.ceil(SHARE * seeds)), math.floor(MOST * seeds))
    if evaluate.heldout >= seeds:
        raise ConfigError(
            f"`evaluate.heldout` is {evaluate.heldout}, and there are {seeds} seeds, so none would be left to train "
            "on: hold out fewer, or 0 and name prompts in `evaluate.sets`"
        )
    return evaluate.heldout


def _heldout_ids(config: Config, store: Store, seeds: pl.DataFrame, size: int) -> list[str]:
    """The ids of the held-out seeds. They are remembered, because it takes long to find clusters."""
    similar = config.evolve.near_duplicate or SIMILAR
    used = _used(store)
    order = call_key(
        {"ids": seeds["prompt_id"].to_list(), "size": size, "similar": similar, "used": sorted(used)}
    ).hex()
    path = store.state / "heldout.json"
    if path.exists():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(kept, dict) and kept.get("of") == order:
                return [str(each) for each in kept["prompts"]]
        except (ValueError, KeyError, TypeError):
            # A file that cannot be read is made again below.
            pass
    held = seeds.tail(size).filter(~pl.col("prompt_id").is_in(sorted(used)))
    # The tasks of an environment are worded alike, and only equal ones repeat each other.
    posed = config.seeds is not None and config.seeds.environment is not None
    ids = held["prompt_id"].to_list() if posed else _without_clusters(seeds, held, similar)
    if not ids:
        raise ConfigError(
            f"no seeds can be held out: the iterations in {store.folder} use all of them, or each nearly repeats a "
            "training prompt; set `evaluate.heldout: 0` and name other prompts in `evaluate.sets`"
        )
    write_json(path, {"of": order, "prompts": ids})
    return ids


def _without_clusters(seeds: pl.DataFrame, held: pl.DataFrame, similar: float) -> list[str]:
    """Ids of the seeds in `held` whose cluster holds none of the other seeds."""
    while held.height:
        training = as_prompts(seeds.join(held, on="prompt_id", how="anti", maintain_order="left"), 1)
        ours = as_prompts(held, 1)
        columns = ("prompt_id", "prompt", "root_id", "depth")
        near = near_duplicates(ours.select(columns), training.lazy().select(columns), threshold=similar)
        across = near.join(training.select("prompt_id"), left_on="duplicate_of", right_on="prompt_id", how="semi")
        if across.is_empty():
            break
        held = held.join(across, on="prompt_id", how="anti", maintain_order="left")
    return held["prompt_id"].to_list()


def _used(store: Store) -> set[str]:
    """Ids of the seeds of iterations that were built before anything was held out."""
    before = [number for number in store.iterations() if HELDOUT_INPUT not in store.manifest(number).inputs]
    used: set[str] = set()
    for number in before:
        roots = store.scan("prompts", number).select("root_id").unique().collect()
        used |= set(roots["root_id"])
    return used
