"""A supervised command ends in time with everything that it started, and says how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import alive

from eva_data.supervise import Supervised, last_lines

FAMILY = """
import os, pathlib, signal, sys, time

folder = pathlib.Path(sys.argv[1])

def note(name):
    (folder / name).write_text("")
    (folder / f"{name}.{os.getpid()}").write_text("")

def child(name, prepare):
    if os.fork() == 0:
        prepare()
        note(name)
        time.sleep(1000)

def daemonise():
    os.setsid()
    if os.fork():
        os._exit(0)

def be_stubborn():
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

child("plain", lambda: None)
child("session", os.setsid)
child("daemon", daemonise)
if "stubborn" in sys.argv:
    child("stubborn", be_stubborn)
note("command")
if "leave" not in sys.argv:
    time.sleep(1000)
while len(list(folder.glob("*.*"))) < 4:
    time.sleep(0.01)
sys.exit(7)
"""
"""A command with a plain child, one in a session of its own, and a daemon, each of which notes its pid."""


def family(folder: Path, *options: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    return [sys.executable, "-c", FAMILY, str(folder), *options]


def wait_for_pids(folder: Path, count: int) -> set[int]:
    deadline = time.monotonic() + 120
    while len(found := {int(path.suffix[1:]) for path in folder.glob("*.*")}) < count:
        assert time.monotonic() < deadline, f"only {sorted(folder.glob('*'))} started"
        time.sleep(0.02)
    return found


def wait_until_gone(pids: set[int]) -> set[int]:
    deadline = time.monotonic() + 60
    while (left := set(alive(pids))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def test_the_command_exit_status_is_passed_on(tmp_path: Path) -> None:
    with Supervised(["sh", "-c", "exit 3"], log=tmp_path / "log") as supervised:
        assert supervised.wait(20) == 3
        assert supervised.poll() == 3
        assert supervised.workers() == []


def test_a_command_ended_by_a_signal_has_128_plus_its_number(tmp_path: Path) -> None:
    with Supervised(["sh", "-c", "kill -9 $$"], log=tmp_path / "log") as supervised:
        assert supervised.wait(20) == 128 + signal.SIGKILL


def test_a_command_that_does_not_exist_has_127_and_a_line_in_the_log(tmp_path: Path) -> None:
    with Supervised(["no-such-command"], log=tmp_path / "log") as supervised:
        assert supervised.wait(20) == 127
    assert last_lines(tmp_path / "log") == "cannot start no-such-command: No such file or directory"


def test_both_outputs_are_appended_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "job.log"
    for word in ("first", "second"):
        with Supervised(["sh", "-c", f"echo {word}; echo {word} error >&2"], log=log) as supervised:
            supervised.wait(20)
    assert log.read_text() == "first\nfirst error\nsecond\nsecond error\n"


def test_environment_and_folder_are_the_commands(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo $WORD; pwd"]
    with Supervised(command, log=tmp_path / "log", env={"WORD": "only"}, cwd=tmp_path) as supervised:
        assert supervised.wait(20) == 0
    assert last_lines(tmp_path / "log") == f"only\n{tmp_path}"


def test_the_command_inherits_no_open_file_of_the_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; print(sorted(os.listdir('/dev/fd'))[:4])"]
    with (tmp_path / "lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        with Supervised(command, log=tmp_path / "log") as supervised:
            assert supervised.wait(20) == 0
    # The fourth is the listing itself.
    assert last_lines(tmp_path / "log") == "['0', '1', '2', '3']"


def test_workers_are_the_command_and_all_its_living_descendants(tmp_path: Path) -> None:
    with Supervised(family(tmp_path / "pids"), log=tmp_path / "log") as supervised:
        pids = wait_for_pids(tmp_path / "pids", 4)
        assert set(supervised.workers()) >= pids
        victim = int(next(tmp_path.glob("pids/session.*")).suffix[1:])
        os.kill(victim, signal.SIGKILL)
        assert wait_until_gone({victim}) == set()
        assert victim not in supervised.workers()
        assert supervised.poll() is None


def test_stop_ends_sessions_daemons_and_those_that_ignore_sigterm(tmp_path: Path) -> None:
    supervised = Supervised(family(tmp_path / "pids", "stubborn"), log=tmp_path / "log")
    pids = wait_for_pids(tmp_path / "pids", 5)
    supervised.stop()
    assert alive(pids) == []
    assert supervised.poll() == 128 + signal.SIGTERM
    supervised.stop()


def test_what_a_finished_command_left_behind_is_ended_before_its_status_is_known(tmp_path: Path) -> None:
    with Supervised(family(tmp_path / "pids", "leave"), log=tmp_path / "log") as supervised:
        assert supervised.wait(20) == 7
        assert alive(wait_for_pids(tmp_path / "pids", 4)) == []


def test_an_exception_in_the_parent_stops_the_command(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        Supervised(family(tmp_path / "pids"), log=tmp_path / "log"),
    ):
        pids = wait_for_pids(tmp_path / "pids", 4)
        raise KeyboardInterrupt
    assert alive(pids) == []


@pytest.mark.parametrize("forked_copy", [False, True])
def test_a_killed_parent_leaves_nothing_running(tmp_path: Path, forked_copy: bool) -> None:
    (tmp_path / "copies").mkdir()
    parent = f"""
import os, sys, time
from pathlib import Path
from eva_data.supervise import Supervised

supervised = Supervised({family(tmp_path / "pids")!r}, log=Path({str(tmp_path / "log")!r}))
if {forked_copy} and os.fork() == 0:
    Path({str(tmp_path / "copies")!r}, f"copy.{{os.getpid()}}").write_text("")
time.sleep(1000)
"""
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=Path(__file__).parent.parent)
    pids = wait_for_pids(tmp_path / "pids", 4)
    copies = wait_for_pids(tmp_path / "copies", 1) if forked_copy else set()
    supervisors = {child.pid for child in psutil.Process(process.pid).children()} - copies
    process.kill()
    process.wait()
    left = wait_until_gone(pids | supervisors)
    for copy in copies:
        os.kill(copy, signal.SIGKILL)
    assert len(supervisors) == 1
    assert left == set()


def test_a_terminated_supervisor_takes_its_command_with_it(tmp_path: Path) -> None:
    with Supervised(family(tmp_path / "pids"), log=tmp_path / "log") as supervised:
        pids = wait_for_pids(tmp_path / "pids", 4)
        os.kill(supervised.pid, signal.SIGTERM)
        assert supervised.wait(20) == 128 + signal.SIGTERM
        assert alive(pids) == []


def test_of_a_progress_bar_only_the_last_state_is_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"start\n\n10%\r20%\r30%\nlast\r\n\xff\n")
    assert last_lines(tmp_path / "log", 3) == "30%\nlast\n\ufffd"
    assert last_lines(tmp_path / "log", 1) == "\ufffd"
    assert last_lines(tmp_path / "missing") == ""
