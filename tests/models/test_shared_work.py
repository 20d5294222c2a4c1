"""Two processes that compute with one model and one ledger: each answer once. A killed one does not block the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eva_data.ledger import Ledger
from eva_data.models.resolve import SANDBOX_MODEL

PROMPTS = 48

_JOB = """
import json, sys
from pathlib import Path
from eva_data.calls import Request
from eva_data.jobs.job import Job
folder, model, prompts = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
settings = {
    "llm": "eva_data.models.local:TransformersLLM", "fingerprint": "m", "engine": {}, "max_prompt_tokens": None,
    "sampling": {"temperature": 1.0, "top_p": 1.0, "max_tokens": 24}, "system": "keep", "seed": 7, "path": model,
    "device": "cpu", "dtype": "float32", "batch_size": 4, "threads": 1, "trust_remote_code": False,
}
def ask(text):
    answers = yield [Request(({"role": "user", "content": text},), index) for index in range(2)]
    return [answer.text for answer in answers]
llm = Job(folder / sys.argv[4], "respond", None, settings, ledger=folder / "ledger.sqlite").llm()
llm.load()
print("ready", flush=True)
sys.stdin.readline()
found = llm.drive([ask(f"Write the word w{number:02} backwards.") for number in range(prompts)], 2 * prompts)
llm.unload()
print(json.dumps(found))
"""


def start(folder: Path, name: str) -> subprocess.Popen[str]:
    """A job that loads the model and then waits for `go`."""
    (folder / name).mkdir(parents=True)
    arguments = [str(folder), str(SANDBOX_MODEL), str(PROMPTS), name]
    command = [sys.executable, "-W", "ignore", "-c", _JOB, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def loaded(job: subprocess.Popen[str]) -> None:
    assert job.stdout is not None
    assert job.stdout.readline() == "ready\n"


def go(job: subprocess.Popen[str]) -> None:
    assert job.stdin is not None
    job.stdin.write("go\n")
    job.stdin.flush()


def result(job: subprocess.Popen[str]) -> list[list[str]]:
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 0
    found: list[list[str]] = json.loads(said)
    return found


@pytest.mark.slow
def test_two_processes_share_the_work_and_one_that_is_killed_leaves_its_part_to_the_other(tmp_path: Path) -> None:
    jobs = [start(tmp_path / "shared", name) for name in "ab"]
    doomed, other = start(tmp_path / "killed", "a"), start(tmp_path / "killed", "b")
    for job in (*jobs, doomed, other):
        loaded(job)

    for job in jobs:
        go(job)
    expected = result(jobs[0])
    assert len(expected) == PROMPTS and result(jobs[1]) == expected
    with Ledger(tmp_path / "shared/ledger.sqlite") as ledger:
        assert (ledger.totals()["generations"], ledger.totals()["repeated"]) == (2 * PROMPTS, 0)
        assert ledger.rows("SELECT sum(completions) FROM bills") == [(2 * PROMPTS,)]
        assert ledger.rows("SELECT (SELECT count(*) FROM claims), (SELECT count(*) FROM owners)") == [(0, 0)]

    go(doomed)
    with Ledger(tmp_path / "killed/ledger.sqlite") as ledger:
        while True:
            # It shall be stopped in the middle of a batch, while it holds claims.
            os.kill(doomed.pid, signal.SIGSTOP)
            if ledger.rows("SELECT key FROM claims"):
                break
            os.kill(doomed.pid, signal.SIGCONT)
            time.sleep(0.002)
        go(other)
        while ledger.totals()["generations"] < PROMPTS:
            time.sleep(0.01)
        os.kill(doomed.pid, signal.SIGKILL)
        doomed.communicate()
        assert result(other) == expected
        assert (ledger.totals()["generations"], ledger.totals()["repeated"]) == (2 * PROMPTS, 0)
        assert ledger.rows("SELECT count(*) FROM claims") == [(0,)]
