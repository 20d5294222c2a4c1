"""Measures the bytes and the time of completions in the ledger, packed against plain, on texts of a parquet file.

    python benchmarks/ledger.py responses.parquet --column response

Each way writes all texts to a ledger of its own in batches, and reads them again. Both ways run in turn in one process.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import polars as pl

from eva_data.calls import Completion
from eva_data.ledger import Ledger, call_key

BATCH = 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a parquet file with texts")
    parser.add_argument("--column", default="response", help="the column of the texts")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    texts = pl.read_parquet(arguments.file)[arguments.column].drop_nulls().to_list()
    calls = {call_key({"number": number}): Completion(text, "stop", 1, 1) for number, text in enumerate(texts)}
    length = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(calls):,} texts of {length:,.0f} bytes on average")
    found: dict[str, list[tuple[float, float, float]]] = {"plain": [], "packed": []}
    for _ in range(arguments.repeats):
        with patch("eva_data.ledger.records.packed", str):
            found["plain"].append(measure(calls))
        found["packed"].append(measure(calls))
    best = {way: [min(values) for values in zip(*runs, strict=True)] for way, runs in found.items()}
    for way, (size, write, read) in best.items():
        print(f"{way:8}{size:10,.0f} bytes, {write:6.1f} us to write and {read:6.1f} us to read, per completion")
    size, write, read = (one / other for one, other in zip(best["packed"], best["plain"], strict=True))
    print(f"packed / plain: {size:.2f} of the bytes, {write:.2f} of the time to write, {read:.2f} of that to read")


def measure(calls: dict[bytes, Completion]) -> tuple[float, float, float]:
    """Bytes, and microseconds of the processor to write and to read, per completion."""
    keys = list(calls)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        with Ledger(path) as ledger:
            began = time.process_time()
            for start in range(0, len(keys), BATCH):
                ledger.keep_completions({key: calls[key] for key in keys[start : start + BATCH]})
            written = time.process_time()
            for start in range(0, len(keys), BATCH):
                batch = keys[start : start + BATCH]
                assert ledger.completions(batch) == {key: calls[key] for key in batch}
            done = time.process_time()
        size = path.stat().st_size
    return size / len(keys), (written - began) / len(keys) * 1e6, (done - written) / len(keys) * 1e6


if __name__ == "__main__":
    main()
