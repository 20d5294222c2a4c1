"""Every finished call once, whoever is killed when."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eva_data.calls import Completion
from eva_data.errors import DataError
from eva_data.ledger import Ledger, Score, call_key, derived_seed


def test_a_key_depends_on_content_and_not_on_the_order_of_the_parts() -> None:
    assert call_key({"model": "m", "index": 0}) == call_key({"index": 0, "model": "m"})
    assert call_key({"model": "m", "index": 0}) != call_key({"model": "m", "index": 1})
    # sha256 of {"a":1}, as any other program computes it
    assert call_key({"a": 1}).hex() == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert derived_seed(bytes.fromhex("ffffffffffffffff00")) == 2**63 - 1


def test_what_was_kept_comes_back_and_nothing_else(tmp_path: Path) -> None:
    one = Completion("four", "stop", 5, 2)
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
    with pytest.raises(DataError, match="version 99, this eva-data reads up to 2: update"):
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
    time.sleep(1.5)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
    committed = [
        (name, int(line))
        for name, writer in zip("ab", writers, strict=True)
        for line in writer.communicate()[0].split()
    ]
    assert len(committed) > 2
    with Ledger(path) as ledger:
        keys = [f"{name}-{number}-{i}".encode() for name, number in committed for i in range(3)]
        assert len(ledger.completions(keys)) == len(keys)
        # A transaction is there whole or not at all.
        assert ledger.totals()["generations"] % 3 == 0
