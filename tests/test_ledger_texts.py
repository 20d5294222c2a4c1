"""The ledger's texts are kept packed, and an older ledger is read as it is and packed in steps."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.calls import Completion
from eva_data.errors import DataError
from eva_data.ledger import VERSION, Ledger
from eva_data.ledger.segments import export_ledger, import_ledger
from eva_data.ledger.shrinking import pack, vacuum
from eva_data.ledger.texts import packed, unpacked

LONG = "The train leaves at noon and arrives at four. " * 40


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])).map(lambda text: text * 9))
def test_every_text_comes_back_and_none_grows(text: str) -> None:
    kept = packed(text)
    assert unpacked(kept) == text
    assert len(kept if isinstance(kept, bytes) else kept.encode()) <= len(text.encode())


def test_a_packed_text_is_its_length_and_a_frame_that_any_other_program_reads() -> None:
    kept = packed("a" * 300)
    assert isinstance(kept, bytes)
    # RFC 8878: the magic number of a frame is 0xFD2FB528, little-endian.
    assert kept[:8] == (300).to_bytes(4, "big") + bytes.fromhex("28b52ffd")
    assert packed("a" * 63) == "a" * 63


@pytest.mark.parametrize("damage", ["substr(text, 1, length(text) - 9)", "x'ffffffff28b52ffd'", "x'00'", "x''"])
def test_a_damaged_text_is_one_sentence(tmp_path: Path, damage: str) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.keep_completions({b"1": Completion(LONG, "stop", 1, 1)})
        ledger.rows(f"UPDATE generations SET text = {damage}")
        with pytest.raises(DataError, match=r"a completion in the ledger is damaged .*: bring the ledger back"):
            ledger.completions([b"1"])


def older_ledger(path: Path, count: int) -> dict[bytes, Completion]:
    """A ledger of version 5, whose texts are all plain, and what is in it."""
    calls = {n.to_bytes(4, "big"): Completion(f"{n} {LONG}", "stop", 1, n) for n in range(count)}
    calls[b"short"] = Completion("four", "stop", 1, 1)
    with Ledger(path) as ledger:
        ledger.keep_completions(calls)
        with ledger.transaction():
            ledger.many("UPDATE generations SET text = ? WHERE key = ?", ((c.text, key) for key, c in calls.items()))
        ledger.rows("PRAGMA user_version=5")
    return calls


def forms(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT typeof(text), count(*) FROM generations GROUP BY 1"))


def test_an_older_ledger_is_read_at_once_and_packed_and_shrunk_by_vacuum(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    calls = older_ledger(path, 2500)
    before = path.stat().st_size
    with Ledger(path) as ledger, Ledger(path) as reader:
        assert ledger.completions(list(calls)) == calls
        assert ledger.rows("PRAGMA user_version") == [(VERSION,)]
        assert forms(path) == {"text": 2501}
        assert pack(ledger) == 2500
        assert reader.completions(list(calls)) == calls
    with Ledger(path) as ledger:
        vacuum(ledger)
        assert ledger.completions(list(calls)) == calls
        assert pack(ledger) == 0
    assert path.stat().st_size < before / 4
    assert forms(path) == {"blob": 2500, "text": 1}


def test_segments_hold_the_texts_themselves(tmp_path: Path) -> None:
    calls = {b"1": Completion(LONG, "stop", 1, 1), b"2": Completion("four", "stop", 1, 1)}
    with Ledger(tmp_path / "one.sqlite") as one, Ledger(tmp_path / "other.sqlite") as other:
        one.keep_completions(calls)
        export_ledger(one, tmp_path / "segments")
        # Packed and plain, the same call is the same.
        other.keep_completions({b"1": Completion(LONG, "stop", 1, 1)})
        other.rows("UPDATE generations SET text = ?", [LONG])
        assert import_ledger(other, tmp_path / "segments").conflicting == 0
        assert other.completions([b"1", b"2"]) == calls


_PACKED_AND_KILLED = """
import os, sqlite3, sys
from pathlib import Path
from eva_data.ledger import Ledger
from eva_data.ledger.shrinking import vacuum
class Deadly(sqlite3.Connection):
    left = int(sys.argv[2])
    def execute(self, *arguments):
        self.count()
        return super().execute(*arguments)
    def executemany(self, *arguments):
        self.count()
        return super().executemany(*arguments)
    def count(self):
        Deadly.left -= 1
        if Deadly.left < 0:
            os.kill(os.getpid(), 9)
connect = sqlite3.connect
sqlite3.connect = lambda *arguments, **options: connect(*arguments, factory=Deadly, **options)
with Ledger(Path(sys.argv[1])) as ledger:
    vacuum(ledger)
"""


@pytest.mark.slow
def test_vacuum_killed_before_any_statement_loses_no_completion_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    calls = older_ledger(path, 2500)
    code, statements, seen = -signal.SIGKILL, 3, set()
    while code == -signal.SIGKILL:
        command = [sys.executable, "-c", _PACKED_AND_KILLED, str(path), str(statements)]
        code = subprocess.run(command, check=False).returncode
        with Ledger(path) as ledger:
            assert ledger.completions(list(calls)) == calls
        seen.add(forms(path).get("blob", 0))
        statements += 3
        assert statements < 60
    assert code == 0
    # Some were killed between two steps.
    assert {0, 2500} < seen
    assert path.stat().st_size < 2500 * 400
