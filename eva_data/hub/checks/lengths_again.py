"""Fits again how the rewards of an iteration were adjusted for length, and compares it with the manifest."""

from __future__ import annotations

import math
from typing import Any, Literal

from eva_data.config import Config
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import Table
from eva_data.iteration.stages import lengths_record
from eva_data.method.outcome import lengths_of
from eva_data.method.signals.lengths import PairLengths

_NEARLY = 1e-9
"""Share by which a coefficient may differ: logarithms differ in the last bits between machines."""


def lengths_again(
    manifest: Manifest,
    config: Config,
    stage: Literal["estimate", "respond"],
    responses: Table,
    pairs: tuple[PairLengths, PairLengths] | None = None,
) -> list[str]:
    """The differences between what the manifest records of a stage's adjustment and what follows from `responses`.

    `pairs` are the counts by the given and by the adjusted rewards, which the stage `estimate` does not have.
    """
    fit, said = lengths_of(config, responses), manifest.lengths.get(stage)
    now = None if fit is None else lengths_record(fit, pairs)
    if now is None or said is None:
        missing = "is missing" if said is None else "is there, and no rewards are adjusted for length"
        return [] if now is said else [f"manifest: `lengths.{stage}` {missing}"]
    there, here = said.model_dump(), now.model_dump()
    return [
        f"manifest: `lengths.{stage}.{name}` is {there[name]}, and {here[name]} follows from the tables"
        for name in here
        if not _alike(there[name], here[name])
    ]


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=_NEARLY, abs_tol=_NEARLY)
    return bool(one == other)
