"""Asks again what a server had given up on in a finished iteration, and keeps the result as a revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from eva_data.dataset.compose import compose
from eva_data.dataset.manifest import Manifest, Retried
from eva_data.dataset.ordered import height_of
from eva_data.errors import StaleError
from eva_data.iteration.build import finish_build, play_iteration
from eva_data.iteration.run import Run
from eva_data.iteration.stale import refuse_stale
from eva_data.iteration.thetas import read_training

GAVE_UP = r"\bgave_up\b"
"""In a reason: a server failed for reasons that may pass, so that a finished call is not in the ledger."""
_WITH_REASONS = ("rejects", "evolutions")


@dataclass(frozen=True)
class RetryResult:
    """What asking again came to."""

    manifest: Manifest
    """Of the new revision, or of the newest one if nothing has changed."""
    asked: int
    """Rows without a reply before."""
    left: int
    """Rows without a reply now."""
    gained: Mapping[str, int]
    """Table -> rows more than before; fewer where negative. Empty if there is no new revision."""


def retry_rejects(run: Run, iteration: int) -> RetryResult:
    """Build iteration t again from the ledger, which asks only what a server had given up on, as a new revision.

    Everything that follows from the new replies is made again: metrics, draw, mix and pairs. No revision is made if no
    row was given up, or if every row was given up again. Raise StaleError if the iteration is not built, if its
    settings or inputs have changed, if people have reviewed it, or if theta_t or iteration t + 1 was made from it.
    """
    store = run.store
    if iteration not in store.iterations():
        raise StaleError(f"iteration {iteration} is not built: `eva-data build --iter {iteration}` makes it")
    for earlier in range(1, iteration + 1):
        refuse_stale(run, earlier)
    _refuse_used(run, iteration)
    before = store.manifest(iteration)
    asked = sum(_given_up(store.scan(name, iteration)) for name in _WITH_REASONS)
    if not asked:
        return RetryResult(before, 0, 0, {})
    with play_iteration(run, iteration) as built:
        left = sum(_given_up(built.tables[name].lazy()) for name in _WITH_REASONS)
        rows = {name: height_of(store.scan(name, iteration)) for name in built.tables}
        gained = {name: height_of(built.tables[name]) - count for name, count in rows.items()}
        if left == asked and not any(gained.values()):
            return RetryResult(before, asked, left, {})
        retried = Retried(before=before.revision, asked=asked, left=left)
        manifest = store.write_rebuilt(compose(run.config, built).model_copy(update={"retried": retried}), built.tables)
    finish_build(run, iteration)
    return RetryResult(manifest, asked, left, gained)


def _given_up(table: pl.LazyFrame) -> int:
    """Rows whose reason says that a server had given up."""
    found = table.select(pl.col("reason").str.contains(GAVE_UP).sum()).collect().item()
    return int(found)


def _refuse_used(run: Run, iteration: int) -> None:
    store = run.store
    used = None
    if iteration + 1 in store.iterations():
        used = f"iteration {iteration + 1} was built from it"
    elif store.solver_folder(iteration).exists() and read_training(store, iteration):
        used = f"theta_{iteration} was trained on its pairs"
    elif store.manifest(iteration).review is not None:
        used = "people have reviewed its pairs"
    if used is not None:
        raise StaleError(
            f"iteration {iteration} in {store.folder} cannot be asked again, since {used}: build it in a folder of its "
            f"own with `--set folder=... --set ledger={run.ledger}`, which pays only for what is missing"
        )
