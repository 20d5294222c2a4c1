"""Measures the ledger: what packing saves on texts of a parquet file, and what a ledger of a given size takes.

    python benchmarks/ledger.py responses.parquet --column response
    python benchmarks/ledger.py --completions 1_000_000 --folder /a/disk/with/room
    python benchmarks/ledger.py --upgrade 60_000_000 --folder /a/disk/with/room

With a file, each way writes all texts to a ledger of its own in batches, and reads them again. Both ways run in turn in
one process. With `--completions`, drawn texts of 900 to 1,100 bytes are written as a stage writes them, a transaction
for every 64 replies, and the ledger is measured at four sizes on the way. Then it is made one of version 6, opened,
which upgrades it, and counted, and its bills are summed up. In the end it is made smaller, exported and imported.
Microseconds and seconds are those of the processor, and of the clock in brackets.

With `--upgrade`, so many completions of some 50 bytes make a ledger of version 6. `eva-data ledger stats`, which
upgrades it, is killed several times and then runs to its end; all completions must be there, and drawn ones are read.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import polars as pl

from eva_data.calls import Completion
from eva_data.ledger import Bill, Ledger, call_key
from eva_data.ledger.segments import export_ledger, import_ledger
from eva_data.ledger.shrinking import pack, vacuum

BATCH = 1000
TURN = 64
"""Replies that are written together."""
LOOKED_UP = 20_000
KILLED_AFTER = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds after which the upgrade is killed."""
ASKED_FOR = 60_000_000
"""The size to which the measured ones are drawn out."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="a parquet file with texts")
    parser.add_argument("--completions", type=int, help="measure a ledger of so many completions")
    parser.add_argument(
        "--upgrade", type=int, help="upgrade an older ledger of so many completions, and kill it meanwhile"
    )
    parser.add_argument("--folder", type=Path, help="where that ledger is made; it is removed at the end")
    parser.add_argument("--column", default="response", help="the column of the texts")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.completions or arguments.upgrade:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            path = Path(folder) / "ledger.sqlite"
            if arguments.upgrade:
                upgrade(path, arguments.upgrade)
            else:
                grow(path, arguments.completions)
        return
    if arguments.file is None:
        parser.error("name a parquet file, or a number of `--completions`")
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


def grow(path: Path, completions: int) -> None:
    """Write so many completions, and print what the ledger takes at a quarter, a half, three quarters and in all."""
    draw = random.Random(0)
    words = ["".join(draw.choices("etaoinshrdlu", k=draw.randint(2, 9))) for _ in range(5000)]
    texts = [" ".join(draw.choices(words, k=200))[: draw.randint(900, 1100)] for _ in range(5000)]
    bill = Bill("org/model@0123456789abcdef", "respond", 1, 1, 60, 180, 1.0, 0.001)
    keys: list[bytes] = []
    written = (0.0, 0.0)
    print(f"{'completions':>12}{'bytes each':>12}{'write':>18}{'find':>18}{'miss':>18}{'totals':>10}{'bills':>10}")
    with Ledger(path) as ledger:
        for quarter in range(1, 5):
            new = completions * quarter // 4 - completions * (quarter - 1) // 4
            began = time.process_time(), time.monotonic()
            for first in range(0, new, TURN):
                turn = {
                    os.urandom(32): Completion(draw.choice(texts), "stop", 60, 180)
                    for _ in range(min(TURN, new - first))
                }
                ledger.keep_completions(turn, [bill] * len(turn))
                # A sample is enough to look up.
                keys += list(turn)[:4]
            written = _each(began, new)
            there = draw.choices(keys, k=LOOKED_UP)
            found = timed(lambda keys=there: look_up(ledger, keys, LOOKED_UP))  # type: ignore[misc]
            missing = [os.urandom(32) for _ in range(LOOKED_UP)]
            missed = timed(lambda keys=missing: look_up(ledger, keys, 0))  # type: ignore[misc]
            totals, bills = timed(ledger.totals)[1], timed(ledger.bills)[1]
            assert ledger.totals()["generations"] == completions * quarter // 4
            ledger.rows("PRAGMA wal_checkpoint(TRUNCATE)")
            count, size = completions * quarter // 4, path.stat().st_size
            said = [
                f"{a:.1f} ({b:.1f}) us"
                for a, b in (written, *((x / LOOKED_UP * 1e6, y / LOOKED_UP * 1e6) for x, y in (found, missed)))
            ]
            times = "".join(f"{each:>18}" for each in said)
            print(f"{count:>12,}{size / count:>12,.0f}{times}{totals:>8.3f} s{bills:>8.2f} s", flush=True)
    downgrade(path)
    opened = timed(lambda: Ledger(path).close())[1]
    with Ledger(path) as ledger:
        once, again = timed(ledger.totals)[1], timed(ledger.totals)[1]
        summing, sums = timed(ledger.bills)[1], timed(ledger.bills)[1]
        assert [bill["replies"] for bill in ledger.bills()] == [completions]
        assert ledger.totals()["generations"] == completions
        packing = timed(lambda: pack(ledger))[1]
    more = ASKED_FOR / completions
    print(f"upgrade of version 6: {opened:.3f} s to open, {once:.2f} s to count once, then {again:.4f} s")
    print(f"{summing:.2f} s to sum up the bills once, then {sums:.4f} s")
    print(f"a look for plain texts, as `vacuum` begins: {packing:.1f} s")
    print(f"drawn out to {ASKED_FOR:,}: {size * more / 2**30:,.0f} GiB, {once * more:,.0f} s to count once, ", end="")
    print(f"{summing * more:,.0f} s to sum up the bills once, {packing * more:,.0f} s to look for plain texts")
    move(path, completions)


def downgrade(path: Path) -> None:
    """Make the ledger one of version 6."""
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for table in ("counts", "bill_sums"):
        connection.execute(f"DROP TABLE {table}")
    connection.execute("PRAGMA user_version=6")
    connection.close()


def upgrade(path: Path, completions: int) -> None:
    """Write so many short completions in the order of their keys, and upgrade the ledger of version 6 that they make.

    The upgrade is killed several times before it may end.
    """
    bill = Bill("org/model@0123456789abcdef", "respond", 1, 1, 60, 180, 1.0, 0.001)
    began = time.monotonic()
    with Ledger(path) as ledger:
        for first in range(0, completions, LOOKED_UP):
            numbers = range(first, min(first + LOOKED_UP, completions))
            turn = {spread(number, completions): Completion(short(number), "stop", 60, 180) for number in numbers}
            ledger.keep_completions(turn, [bill] * len(turn))
        ledger.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    size = path.stat().st_size
    print(
        f"{completions:,} completions, {size / 2**30:,.1f} GiB, written in {time.monotonic() - began:,.0f} s",
        flush=True,
    )
    downgrade(path)
    command = [sys.executable, "-m", "eva_data", "ledger", "stats", "--set", f"ledger={path}"]
    for seconds in KILLED_AFTER:
        process = subprocess.Popen(command, cwd=path.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        ended = process.poll() is not None
        process.kill()
        process.wait()
        print(f"killed after {seconds:g} s{', when it had ended' if ended else ''}", flush=True)
    told = timed(lambda: subprocess.run(command, cwd=path.parent, check=True))[1]
    print(f"the same command takes {told:,.1f} s, and again ", end="", flush=True)
    print(f"{timed(lambda: subprocess.run(command, cwd=path.parent, check=True, capture_output=True))[1]:,.1f} s")
    draw = random.Random(0)
    with Ledger(path) as ledger:
        assert ledger.totals()["generations"] == completions
        assert [one["replies"] for one in ledger.bills()] == [completions]
        numbers_drawn = [draw.randrange(completions) for _ in range(LOOKED_UP)]
        for first in range(0, LOOKED_UP, TURN):
            asked = {spread(number, completions): short(number) for number in numbers_drawn[first : first + TURN]}
            found = {key: each.text for key, each in ledger.completions(list(asked)).items()}
            assert found == asked
    print(f"{LOOKED_UP:,} drawn completions are found as they were written")


def spread(number: int, completions: int) -> bytes:
    """The key of a completion: keys are in the order of the numbers, and as far apart as hashes."""
    return (number * (2**256 // completions)).to_bytes(32, "big")


def short(number: int) -> str:
    """The text of a completion."""
    return f"The answer to question {number} is {number * 7919 % 100_003}."


def move(path: Path, completions: int) -> None:
    """Shrink the ledger, export it, export it again, and import it into a new one; print times, sizes and memory."""
    folder, other, before = path.with_name("segments"), path.with_name("other.sqlite"), path.stat().st_size
    steps: dict[str, Callable[[Ledger], object]] = {
        "vacuum": vacuum,
        "export": lambda ledger: export_ledger(ledger, folder),
        "nothing new to export": lambda ledger: export_ledger(ledger, folder),
    }
    with Ledger(path) as ledger:
        taken = {name: timed(lambda step=step: step(ledger)) for name, step in steps.items()}  # type: ignore[misc]
        ledger.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    with Ledger(other) as ledger:
        taken["import"] = timed(lambda: import_ledger(ledger, folder))
        assert ledger.totals()["generations"] == completions
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"vacuum: {before:,} bytes become {path.stat().st_size:,}; {size:,} bytes of segments; ", end="")
    print(f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB of memory in all")
    for name, (processor, clock) in taken.items():
        print(f"{name}: {processor:.1f} ({clock:.1f}) s, ", end="")
        print(f"{clock * ASKED_FOR / completions / 60:,.0f} minutes for {ASKED_FOR:,}")


def look_up(ledger: Ledger, keys: list[bytes], expected: int) -> None:
    found = 0
    for first in range(0, len(keys), TURN):
        found += len(ledger.completions(keys[first : first + TURN]))
    assert found <= expected and (found > 0.9 * expected or not expected)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the processor, and of the clock."""
    began = time.process_time(), time.monotonic()
    work()
    return time.process_time() - began[0], time.monotonic() - began[1]


def _each(began: tuple[float, float], number: int) -> tuple[float, float]:
    """Microseconds of the processor, and of the clock, for each of so many."""
    return (time.process_time() - began[0]) / number * 1e6, (time.monotonic() - began[1]) / number * 1e6


if __name__ == "__main__":
    main()
