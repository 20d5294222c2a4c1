"""A disk that is really full: a command says so in one sentence, keeps what was finished, and completes when repeated.

The disk is a small file system in memory, in a mount namespace of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hub_server import Hub
from published import publish, small_dataset

from eva_data.calls import Completion
from eva_data.ledger import Bill, Ledger
from eva_data.ledger.segments import export_ledger

NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
CAN_MOUNT = (
    shutil.which("unshare") is not None
    and subprocess.run(
        [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False, capture_output=True
    ).returncode
    == 0
)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CAN_MOUNT, reason="no file system can be mounted here")]

ON_FULL_DISK = """
import os, shutil, subprocess, sys
from pathlib import Path
disk, source, left, *command = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=True)
shutil.copytree(source, disk, dirs_exist_ok=True)
os.chdir(disk)
free = os.statvfs(disk)
Path("filler").write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - int(left))))
for again in (False, True):
    done = subprocess.run([sys.executable, "-m", "eva_data.cli", *command], capture_output=True, text=True)
    assert "Warning" not in done.stderr, done.stderr
    print(done.returncode, (done.stderr if done.returncode else done.stdout).splitlines()[-1])
    print(*sorted(str(path.relative_to(disk)) for path in Path(disk).rglob("*.parquet")), "files")
    Path("filler").unlink(missing_ok=True)
"""
"""Runs a command in a copy of a folder with so many bytes left, and again with room; prints what came of it."""


def on_full_disk(tmp_path: Path, left: int, *command: str, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Code and last line, and the parquet files: on the full disk, and of the repetition."""
    disk = tmp_path / "disk"
    disk.mkdir(exist_ok=True)
    script = [sys.executable, "-c", ON_FULL_DISK, str(disk), str(tmp_path / "source"), str(left), *command]
    done = subprocess.run(
        [*NAMESPACE, *script], env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    """A ledger of a megabyte, whose texts no compression makes shorter than half."""
    path = tmp_path / "source" / "ledger.sqlite"
    with Ledger(path) as made:
        for _ in range(10):
            calls = {os.urandom(32): Completion(os.urandom(400).hex(), "stop", 3, 2) for _ in range(200)}
            made.keep_completions(calls, [Bill("m@1", "respond", 1, 200, 3, 2, 0.5, 0.25)])
    return path


SET = ("--set", "ledger=ledger.sqlite")


def test_a_ledger_is_not_begun_to_be_shrunk_without_room(tmp_path: Path, ledger: Path) -> None:
    size = ledger.stat().st_size
    said = on_full_disk(tmp_path, size // 2, "ledger", "vacuum", *SET)
    assert said[0].startswith("1 Error: `eva-data ledger vacuum` needs ")
    assert said[0].endswith(" MB free: make room, then repeat")
    assert said[2].startswith("0 ")


@pytest.mark.parametrize("left", [0, 200_000])
def test_an_export_that_found_no_room_leaves_no_part_of_a_segment(tmp_path: Path, ledger: Path, left: int) -> None:
    said = on_full_disk(tmp_path, left, "ledger", "export", "segments", *SET)
    assert said[0].startswith("1 Error: ")
    assert "make room" in said[0]
    assert said[1] == "files"
    assert "segments got 2,000 completions, 0 rewards and 10 bills in 2 segments." in said[2]


FULL = (
    r"1 Error: the ledger ledger\.sqlite cannot grow, the disk is full: make room and run the same command again; "
    r"nothing is lost"
)
FORESEEN = (
    r"1 Error: `eva-data ledger import` needs \S+ MB in \., and its disk has 0\.\d MB free: make room, then repeat"
)


@pytest.mark.parametrize(("left", "expected"), [(0, FULL), (80_000, FULL), (110_000, FULL), (400_000, FORESEEN)])
def test_a_ledger_that_found_no_room_is_whole_or_absent(tmp_path: Path, ledger: Path, left: int, expected: str) -> None:
    with Ledger(ledger) as full:
        export_ledger(full, tmp_path / "source" / "segments")
    ledger.unlink()
    said = on_full_disk(tmp_path, left, "ledger", "import", "segments", *SET)
    assert re.fullmatch(expected, said[0]), said[0]
    assert said[2] == "0 ledger.sqlite got 2,000 completions, 0 rewards and 10 bills from 2 segments."


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, "1 Error: No space left on device; what was finished is kept: make room or mend it, then repeat"),
        (1.0, "1 Error: `eva-data pull alice/game` needs "),
    ],
)
def test_a_pull_without_room_brings_nothing_and_then_everything(tmp_path: Path, share: float, expected: str) -> None:
    files = small_dataset(tmp_path / "made")
    (tmp_path / "source").mkdir()
    tables = sorted(name for name in files if name.endswith(".parquet"))
    left = int(share * sum(len(files[name]) for name in tables))
    with Hub(tmp_path / "hub") as hub:
        publish(hub, "alice/game", files)
        environment = os.environ | hub.environment()
        said = on_full_disk(tmp_path, left, "pull", "alice/game", environment=environment)
    assert said[0].startswith(expected)
    assert said[1] == "files"
    assert said[2].startswith("0 ")
    assert said[3] == " ".join([*(f"data/game/{name}" for name in tables), "files"])
