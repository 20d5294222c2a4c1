"""Tries everything that a build reads before anything is paid for: seeds, tables of responses, benchmarks."""

from __future__ import annotations

from eva_data.config import Config, TableModel
from eva_data.dataset.scored_table import check_table
from eva_data.dataset.seeds import check_seeds
from eva_data.evolve.elimination.contamination import read_reference_set


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
