"""A job that is a fork ends as an interpreter does, though its modules are not taken down."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eva_data.jobs.nursery import child_process

BEFORE = """
import atexit, sys, threading, time
atexit.register(lambda: print("exit functions ran", flush=True))
threading.Thread(target=lambda: (time.sleep(0.2), print("a thread was awaited"))).start()
print("nobody flushed this")
"""
SAID = ["nobody flushed this", "a thread was awaited", "exit functions ran"]


@pytest.mark.parametrize(
    ("end", "status", "more"),
    [
        ("", 0, []),
        ("sys.exit()", 0, []),
        ("sys.exit(3)", 3, []),
        ("sys.exit('one word')", 1, ["one word"]),
        ("raise LookupError('what was it')", 1, ["LookupError: what was it"]),
    ],
)
def test_a_job_ends_with_its_status_after_threads_and_exit_functions(
    tmp_path: Path, end: str, status: int, more: list[str]
) -> None:
    script, log = tmp_path / "job.py", tmp_path / "log"
    script.write_text(BEFORE + end)
    with child_process(str(script), [], log=log, env=os.environ | {"HF_DATASETS_CACHE": "x"}, imports=[]) as child:
        assert child.wait(60) == status
    lines = log.read_text().splitlines()
    assert [line for line in lines if line in SAID] == SAID
    assert set(more) <= set(lines)


def test_what_scikit_learn_sets_makes_no_second_nursery(tmp_path: Path) -> None:
    script, log = tmp_path / "job.py", tmp_path / "log"
    script.write_text("import os\nprint(os.getppid(), os.environ.get('KMP_INIT_AT_FORK'))\n")
    # Both values are given, since other tests may have imported scikit-learn.
    for value in ("TRUE", "FALSE"):
        with child_process(str(script), [], log=log, env=os.environ | {"KMP_INIT_AT_FORK": value}, imports=[]) as child:
            assert child.wait(60) == 0
    (first, one), (second, other) = (line.split() for line in log.read_text().splitlines())
    assert first == second
    assert (one, other) == ("TRUE", "FALSE")
