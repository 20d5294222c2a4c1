"""Measures the cost of checking inputs and tables, as a share of the build that the checks guard.

    python benchmarks/checking.py --responses 1_000_000

The script makes a table of scored responses and builds iteration 1 from it in this process (`build --iter 1` with
`solver.backend: table`). Then it checks the build's input and all its tables as every later command does. The first
check has no remembered hashes, so each file is read. The second check uses the hashes in `.eva/checked.json`. The first
check is an upper bound of the build's own cost, since the build hashes its input once, and its tables as it writes
them. Everything is measured in one run, so that the ratios are meaningful on a busy machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import parse_config
from eva_data.iteration.build import build_iteration
from eva_data.iteration.run import Run
from eva_data.iteration.stale import refuse_stale

RESPONSES_PER_PROMPT = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=1_000_000, help="rows of the table")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        measure(Path(folder), arguments.responses)


def measure(folder: Path, responses: int) -> None:
    """Build, check twice, and print the result."""
    table = folder / "rows.parquet"
    write_rows(table, responses)
    solver = {"backend": "table", "path": str(table)}
    config = parse_config({"name": "bench", "solver": solver, "folder": str(folder / "data")}, "the benchmark")
    run = Run(config, ConsoleReporter())
    build = seconds(lambda: build_iteration(run, 1))
    size = table.stat().st_size + sum(entry.bytes for entry in run.store.manifest(1).files.values())
    print(f"{responses:,} responses, {size / 2**20:,.0f} MiB of input and tables: built in {build:.2f} s")
    # Files that were written within the last tick of the clock are not remembered, so all entries are removed.
    (run.store.state / "checked.json").unlink(missing_ok=True)
    for name in ("the first time", "the second time"):
        checked = seconds(lambda: refuse_stale(run, 1))
        print(f"checked {name}: {checked:.4f} s, {checked / build:.3%} of the build")


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def write_rows(path: Path, responses: int) -> None:
    """Write prompts with six responses each: sentences of about 400 characters, and random rewards."""
    random = np.random.default_rng(0)
    words = pl.Series([f"word{number}" for number in range(5_000)])
    rows = pl.DataFrame({"row": np.arange(responses)})
    texts = pl.concat_str(
        [pl.lit(words.gather(random.integers(5_000, size=responses))) for _ in range(50)], separator=" "
    )
    rows.select(
        prompt=pl.format("Please explain number {}.", pl.col("row") // RESPONSES_PER_PROMPT),
        response=texts,
        reward=pl.lit(pl.Series(random.normal(size=responses).round(4))),
    ).write_parquet(path)


if __name__ == "__main__":
    main()
