"""Every finished call is in the ledger once, even if processes are killed."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from eva_data.calls import Completion
from eva_data.errors import DataError
from eva_data.ledger import VERSION, Bill, Ledger, Score, call_key, derived_seed
from eva_data.ledger.shrinking import vacuum


def test_a_key_depends_on_content_and_not_on_the_order_of_the_parts() -> None:
    assert call_key({"model": "m", "index": 0}) == call_key({"index": 0, "model": "m"})
    assert call_key({"model": "m", "index": 0}) != call_key({"model": "m", "index": 1})
    # sha256 of {"a":1}, as any other program computes it
    assert call_key({"a": 1}).hex() == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert derived_seed(bytes.fromhex("ffffffffffffffff00")) == 2**63 - 1


def test_what_was_kept_comes_back_and_nothing_else(tmp_path: Path) -> None:
    one = Completion("four", "stop", 5, 2, first_token={"four": -0.1, "4": -2.5})
    cut = Completion("", "length", None, None)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.keep_completions({b"1": one, b"2": cut})
        ledger.keep_scores({b"1": Score(0.5, None), b"2": Score(None, "not_finite")})
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.completions([b"1", b"2", b"3"]) == {b"1": one, b"2": cut}
        assert ledger.scores([b"2", b"3", b"1"]) == {b"1": Score(0.5, None), b"2": Score(None, "not_finite")}
        assert ledger.totals() == {
            "generations": 2, "rewards": 2, "repeated": 0, "prompt_tokens": 5, "completion_tokens": 2,
        }  # fmt: skip


def test_a_call_that_is_made_again_is_counted_and_its_first_answer_stays(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.keep_completions({b"1": Completion("first", "stop", 1, 1)})
        ledger.keep_completions({b"1": Completion("second", "stop", 1, 1)})
        assert ledger.completions([b"1"])[b"1"].text == "first"
        assert ledger.totals()["repeated"] == 1


def test_the_totals_are_those_of_the_rows_whoever_wrote_and_removed_them(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.keep_completions({b"1": Completion("a", "stop", 5, 7), b"2": Completion("b", "stop", None, 3)})
        ledger.keep_completions({b"2": Completion("b", "stop", None, 3)})
        ledger.keep_scores({b"3": Score(0.5, None), b"4": Score(None, "nan")})
        ledger.keep_scores({b"4": Score(None, "nan")})
        assert ledger.totals() == {
            "generations": 2, "rewards": 2, "repeated": 2, "prompt_tokens": 5, "completion_tokens": 10
        }  # fmt: skip
        rows = [(b"1", "a", "stop", 5, 7, None), (b"5", "c", "stop", 1, 1, None)]
        ledger.add_segment("completions", "0" * 64, rows)
        ledger.rows("DELETE FROM generations WHERE key = ?", (b"2",))
        left = {"generations": 2, "rewards": 2, "repeated": 1, "prompt_tokens": 6, "completion_tokens": 8}
        assert ledger.totals() == left
        # Version 6 counted nothing.
        for name in [name for (name,) in ledger.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'")]:
            ledger.rows(f"DROP TRIGGER {name}")
        ledger.rows("DROP TABLE counts")
        ledger.rows("PRAGMA user_version=6")
    with Ledger(path) as ledger, Ledger(path) as other:
        # What comes before the first count is in it, and what comes after it too.
        other.keep_completions({b"6": Completion("d", "stop", 1, 1)})
        assert ledger.totals() == left | {"generations": 3, "prompt_tokens": 7, "completion_tokens": 9}
        other.keep_completions({b"7": Completion("d", "stop", 1, 1), b"6": Completion("d", "stop", 1, 1)})
        assert ledger.totals() == {
            "generations": 4, "rewards": 2, "repeated": 2, "prompt_tokens": 8, "completion_tokens": 10
        }  # fmt: skip


_BILLS = st.builds(
    Bill,
    model=st.sampled_from(["m@1", "n@2"]),
    stage=st.sampled_from(["respond", "evolve"]),
    iteration=st.integers(1, 2),
    completions=st.integers(0, 6),
    prompt_tokens=st.none() | st.integers(0, 2**40),
    completion_tokens=st.none() | st.integers(0, 2**40),
    seconds=st.floats(0, 1e6),
    cost=st.none() | st.floats(0, 1e3),
)
_BATCHES = st.lists(st.tuples(st.booleans(), st.lists(_BILLS, max_size=6), st.integers(0, 3)), max_size=8)


def scanned(ledger: Ledger) -> list[dict[str, Any]]:
    """What `bills` says, from all rows of the table."""
    groups = defaultdict(list)
    for model, stage, iteration, *numbers in ledger.rows("SELECT * FROM bills"):
        groups[iteration, stage, model].append(numbers)
    sums = []
    for (iteration, stage, model), rows in sorted(groups.items()):
        completions, asked, answered, seconds, costs = zip(*rows, strict=True)
        known = [cost for cost in costs if cost is not None]
        sums.append(
            {
                "iteration": iteration, "stage": stage, "model": model, "replies": len(rows),
                "completions": sum(completions), "prompt_tokens": sum(filter(None, asked)),
                "completion_tokens": sum(filter(None, answered)), "seconds": approx(math.fsum(seconds), rel=1e-12),
                "cost": approx(math.fsum(known), rel=1e-12), "unpriced": len(costs) - len(known),
            }
        )  # fmt: skip
    return sums


@settings(max_examples=15, deadline=None)
@given(_BATCHES)
def test_the_sums_are_those_of_all_bills_whoever_wrote_them_and_summed_them_up(
    batches: list[tuple[bool, list[Bill], int]],
) -> None:
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "a") as one, Ledger(Path(folder) / "a") as other:
        for number, (imported, bills, at_once) in enumerate(batches):
            if imported:
                one.add_segment("bills", f"{number:064}", [bill.row() for bill in bills])
            else:
                other.keep_completions({}, bills)
            if at_once:
                (one if number % 2 else other).sum_up(at_once)
                assert one.rows("SELECT count(*) FROM bills WHERE rowid > ?", (one.summed()[1],))[0][0] < at_once
            assert one.bills() == other.bills() == scanned(one)
        expected = scanned(one)
        cost, unpriced = one.spent()
        assert cost == approx(math.fsum(row["cost"].expected for row in expected), rel=1e-12)
        assert unpriced == sum(row["unpriced"] for row in expected)


def test_a_ledger_of_version_7_is_summed_up_and_its_unused_index_goes_with_the_next_vacuum(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    bill = Bill("m@1", "respond", 1, 1, 5, 2, 0.5, 0.25)
    with Ledger(path) as ledger:
        ledger.keep_completions({}, [bill] * 3)
        ledger.rows("DROP TABLE bill_sums")
        ledger.rows("CREATE INDEX bills_by_stage ON bills (stage, model)")
        ledger.rows("PRAGMA user_version=7")
    with Ledger(path) as ledger:
        assert (ledger.summed(), ledger.spent()) == ((0, 0), (0.75, 0))
        ledger.sum_up(2)
        assert (ledger.summed(), ledger.spent()) == ((0.5, 2), (0.75, 0))
        vacuum(ledger)
        assert (ledger.summed(), ledger.spent()) == ((0.5, 2), (0.75, 0))
        ledger.keep_completions({}, [bill])
        assert ledger.spent() == (1.0, 0)
        assert ledger.rows("SELECT name FROM sqlite_master WHERE name LIKE 'bills%'") == [("bills",)]


def test_a_failed_call_is_not_a_finished_one(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        with pytest.raises(ValueError, match="429"):
            ledger.keep_completions({b"1": Completion(None, "error", None, None, "429")})
        assert ledger.completions([b"1"]) == {}


def test_more_keys_than_one_query_takes(tmp_path: Path) -> None:
    calls = {str(n).encode(): Completion(str(n), "stop", 1, 1) for n in range(1203)}
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.keep_completions(calls)
        assert ledger.completions(list(calls)) == calls


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(DataError, match=f"version 99, this eva-data reads up to {VERSION}: update"):
        Ledger(path)


_WRITER = """
import sys
from pathlib import Path
from eva_data.calls import Completion
from eva_data.ledger import Ledger
ledger, number = Ledger(Path(sys.argv[1])), 0
while True:
    ledger.keep_completions({f"{sys.argv[2]}-{number}-{i}".encode(): Completion("x", "stop", 1, 1) for i in range(3)})
    print(number, flush=True)
    number += 1
"""


@pytest.mark.slow
def test_two_writers_killed_in_the_middle_lose_nothing_that_was_committed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(path), name], stdout=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    outputs = [writer.stdout for writer in writers if writer.stdout is not None]
    first = [output.readline() for output in outputs]
    time.sleep(0.3)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
    committed = [
        (name, int(line))
        for name, line, writer in zip("ab", first, writers, strict=True)
        for line in (line, *writer.communicate()[0].split())
    ]
    assert len(committed) > 2
    with Ledger(path) as ledger:
        keys = [f"{name}-{number}-{i}".encode() for name, number in committed for i in range(3)]
        assert len(ledger.completions(keys)) == len(keys)
        # A transaction is there whole or not at all.
        assert ledger.totals()["generations"] % 3 == 0


# --- the file ----------------------------------------------------------------------------------------------------

_VERSION_2 = """
CREATE TABLE generations (
    key BLOB PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, times INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE rewards (
    key BLOB PRIMARY KEY, reward REAL, reason TEXT, times INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE TABLE bills (
    model TEXT NOT NULL, stage TEXT NOT NULL, iteration INTEGER NOT NULL, completions INTEGER NOT NULL,
    prompt_tokens INTEGER, completion_tokens INTEGER, seconds REAL NOT NULL, cost REAL
);
CREATE INDEX bills_by_stage ON bills (stage, model);
CREATE TABLE canaries (
    model TEXT NOT NULL, probe TEXT NOT NULL, answers TEXT NOT NULL, PRIMARY KEY (model, probe)
) WITHOUT ROWID;
INSERT INTO generations VALUES (x'01', 'four', 'stop', 5, 2, 1), (x'02', '', 'length', NULL, NULL, 2);
INSERT INTO rewards VALUES (x'03', 0.5, NULL, 1);
INSERT INTO bills VALUES ('m@1', 'respond', 1, 1, 5, 2, 0.5, 0.25);
INSERT INTO canaries VALUES ('m@1', 'Why?', '["So."]');
PRAGMA user_version=2;
"""
"""A ledger as eva-data made it up to November 2026."""

_OPENED_AND_KILLED = """
import os, sqlite3, sys
from pathlib import Path
from eva_data.ledger import Ledger
class Deadly(sqlite3.Connection):
    left = int(sys.argv[2])
    def execute(self, *arguments):
        Deadly.left -= 1
        if Deadly.left < 0:
            os.kill(os.getpid(), 9)
        return super().execute(*arguments)
connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **options: connect(*arguments, factory=Deadly, **options)
Ledger(Path(sys.argv[1]))
print("opened")
"""


def opened_and_killed(path: Path, statements: int) -> bool:
    """Open a ledger in a process that is killed after so many statements. Return whether it ended before."""
    command = [sys.executable, "-c", _OPENED_AND_KILLED, str(path), str(statements)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == "opened\n"


def old_ledger(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.executescript(_VERSION_2)
    connection.close()


@pytest.mark.slow
def test_a_ledger_of_version_2_is_upgraded_in_place_whenever_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    old_ledger(path)
    statements = 1
    while not opened_and_killed(path, statements):
        statements += 1
        assert statements < 50
    assert statements > 8
    with Ledger(path) as ledger:
        assert ledger.completions([b"\x01", b"\x02"]) == {
            b"\x01": Completion("four", "stop", 5, 2),
            b"\x02": Completion("", "length", None, None),
        }
        assert ledger.scores([b"\x03"]) == {b"\x03": Score(0.5, None)}
        assert (ledger.spent(), ledger.totals()["repeated"]) == ((0.25, 0), 1)
        assert ledger.canary("m@1") == {"Why?": ["So."]}
        assert ledger.rows("PRAGMA user_version") == [(VERSION,)]


def test_a_ledger_that_is_made_by_a_process_that_is_killed_is_made_by_the_next(tmp_path: Path) -> None:
    for statements in range(1, 12, 2):
        path = tmp_path / str(statements) / "ledger.sqlite"
        opened_and_killed(path, statements)
        # Whole, or not there.
        with Ledger(path) as ledger:
            assert ledger.totals()["generations"] == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda whole: b"", "is empty, 0 bytes, which no ledger ever is"),
        (lambda whole: b"# Notes\n" * 2000, r"is no SQLite database \(file is not a database\)"),
        (lambda whole: whole[: len(whole) // 2 // 4096 * 4096], r"is damaged \(database disk image is malformed\)"),
        (lambda whole: whole[:4096] + bytes(len(whole) - 4096), r"is damaged \(database disk image is malformed\)"),
    ],
)
def test_a_damaged_ledger_is_one_sentence_with_the_way_out_and_stays_as_it_is(
    tmp_path: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.keep_completions(
            {str(n).encode(): Completion(f"{n} " * 50, "stop", 1, 1) for n in range(500)},
            [Bill("m@1", "respond", 1, 1, 1, 1, 0.5, 0.1)] * 500,
        )
    path.write_bytes(damage(path.read_bytes()))
    found = path.read_bytes()
    with pytest.raises(DataError, match=f"the ledger .*ledger.sqlite {said}.*bring it back from a copy"):
        Ledger(path)
    assert path.read_bytes() == found


def test_damage_that_shows_later_is_one_sentence_too(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    # Texts of so few bytes are not packed.
    calls = {str(n).encode(): Completion(f"{n} " * 9, "stop", 1, 1) for n in range(5000)}
    with Ledger(path) as ledger:
        ledger.keep_completions(calls)
    whole = bytearray(path.read_bytes())
    pages = range(len(whole) // 2 // 4096 * 4096, len(whole), 4096)
    # To open a ledger reads the way to the last key. These are other leaves (10) of the tree.
    for page in [page for page in pages if whole[page] == 10 and b"999 " not in whole[page : page + 4096]][:40]:
        whole[page : page + 4096] = bytes(4096)
    path.write_bytes(whole)
    with Ledger(path) as ledger, pytest.raises(DataError, match=r"is damaged \(database disk image is malformed\)"):
        ledger.completions(list(calls))


def test_nobody_but_its_owner_reads_a_ledger_or_the_folder_that_it_made(tmp_path: Path) -> None:
    def mode(path: Path) -> int:
        return path.stat().st_mode & 0o777

    new, old = tmp_path / ".eva" / "ledger.sqlite", tmp_path / "old.sqlite"
    old_ledger(old)
    old.chmod(0o644)
    before = os.umask(0o022)
    try:
        for path in (new, old):
            with Ledger(path) as ledger:
                ledger.keep_completions({b"1": Completion("x", "stop", 1, 1)})
                files = [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]
                assert [mode(file) for file in files] == [0o600] * 3
    finally:
        os.umask(before)
    assert mode(new.parent) == 0o700
    assert sorted(file.name for file in new.parent.iterdir()) == ["ledger.sqlite"]
