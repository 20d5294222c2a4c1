"""What looking through texts before a publish costs, as a ratio to reading the same tables.

    python benchmarks/scanning.py --responses 200_000

Makes a table of scored responses of about a kilobyte each, in which one of ten has a number or an address of the web,
builds iteration 1 of it, reads all of its tables, and looks through them as `publish` does. Both are measured in one
run, one after the other, so that the ratio means something on a busy machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import parse_config
from eva_data.hub.scan import look_through
from eva_data.iteration.build import build_iteration
from eva_data.iteration.run import Run
from eva_data.tables.schemas import TABLES

WORDS = 150
RESPONSES_PER_PROMPT = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=200_000, help="rows of the table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), arguments.responses)


def measure(folder: Path, responses: int) -> None:
    """Build, read, look, and print what came out."""
    table = folder / "rows.parquet"
    write_rows(table, responses)
    solver = {"backend": "table", "path": str(table)}
    config = parse_config({"name": "bench", "solver": solver, "folder": str(folder / "data")}, "the benchmark")
    run = Run(config, ConsoleReporter())
    build_iteration(run, 1)
    start = time.perf_counter()
    size = sum(run.store.scan(name, 1).collect().estimated_size() for name in TABLES)
    reading = time.perf_counter() - start
    start = time.perf_counter()
    found = look_through(run.store, 1, list(TABLES))
    looking = time.perf_counter() - start
    kinds = ", ".join(f"{finding.count} {finding.kind}" for finding in found) or "nothing"
    print(f"{responses:,} responses, {size / 2**20:,.0f} MiB in memory: read in {reading:.2f} s")
    print(f"looked through in {looking:.2f} s, {looking / reading:.1f} times as long; found {kinds}")


def write_rows(path: Path, responses: int) -> None:
    """A table of `prompt`, `response` and `reward`; the texts are words, of which some hold digits or slashes."""
    generator = np.random.default_rng(1)
    words = np.array([f"word{number}"[: 3 + number % 9] for number in range(3000)], dtype=object)
    some = np.array(["2024-01-15", "https://docs.example.org/a/b", "1 234 567,89", "f(x) = 3.14159"], dtype=object)
    texts = []
    for number in range(responses):
        text = generator.choice(words, WORDS)
        if number % 10 == 0:
            text[WORDS // 2] = some[number // 10 % len(some)]
        texts.append(" ".join(text))
    pl.DataFrame(
        {
            "prompt": [f"Question {number // RESPONSES_PER_PROMPT}?" for number in range(responses)],
            "response": texts,
            "reward": generator.random(responses),
        }
    ).write_parquet(path)


if __name__ == "__main__":
    main()
