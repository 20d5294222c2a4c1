"""Checks the record of a theta's training against the tables: the pairs, the pairs drawn again, and the start."""

from __future__ import annotations

from typing import Any

from eva_data.dataset.store import Store
from eva_data.iteration.thetas import read_training
from eva_data.method.replay import replayed


def trained_on(store: Store, theta: int, unknown: list[str]) -> list[str]:
    """The differences between the record of theta's training and the tables of the dataset.

    What cannot be compared is added to `unknown`. Raise DataError if the record cannot be read.
    """
    record = read_training(store, theta)
    problems: list[str] = []
    replay = record.get("replay") or {}
    counts: dict[str, int] = replay.get("pairs", {})
    names = [*str(record.get("split", "")).split("+"), *counts]
    if other := [name for name in names if not _same_files(store, name, record)]:
        unknown.append(f"the pairs of theta_{theta}, which are of other revisions of {', '.join(other)}")
        return problems
    for name, said in counts.items():
        iteration = int(name.rpartition("_")[2])
        pairs = store.scan("preferences", iteration).select("pair_id")
        drawn = replayed(pairs, share=replay["share"], seed=replay["seed"], into=theta, iteration=iteration)
        found = drawn.collect().height
        if found != said:
            problems.append(f"theta_{theta}: {said} pairs of {name} are said to be replayed, the draw takes {found}")
    return problems


def _same_files(store: Store, name: str, record: dict[str, Any]) -> bool:
    """Whether the pairs of an iteration, named as a split, are the files that the training read."""
    iteration = int(name.rpartition("_")[2] or 0)
    if iteration not in store.iterations():
        return False
    files = store.manifest(iteration).files.items()
    ours = {entry.sha256 for path, entry in files if path.startswith("preferences/")}
    return ours <= set(record.get("files", {}).values())
