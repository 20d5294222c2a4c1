"""Builds of the sandbox that servers of `fake_vllm` answer, and the end of a server in the middle of one."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from fake_vllm import answered, write_interpreter
from sandbox_runs import command, hashes


def build(project: Path, launching: str = "local", more: str = "") -> subprocess.Popen[bytes]:
    """Begin to build an iteration of the sandbox, answered by two servers, in a folder of its own."""
    project.mkdir()
    (project / "eva.yaml").write_text(
        f"""
name: sandbox
seeds: {{sandbox: 40}}
solver: {{backend: vllm, model: sandbox, responses: 3, max_tokens: 24, max_in_flight: 2,
         python: {write_interpreter(project)}, arguments: [--fake=answers]}}
reward: {{function: "eva_data.sandbox.verifier:score"}}
pair: {{min_chosen: null}}
servers: {{launch: {launching}, replicas: 2, restarts: 3{more}}}
"""
    )
    arguments = command(project / "data", "build", "--iter", "1", settings=("--config", str(project / "eva.yaml")))
    with (project / "log").open("wb") as log:
        return subprocess.Popen(arguments, cwd=project, stdout=log, stderr=log)


def killed_in_the_middle(project: Path, process: subprocess.Popen[bytes], kill: int = signal.SIGKILL) -> int:
    """End the server that has answered last once a few calls are finished; return its pid."""
    deadline = time.monotonic() + 60
    while len(answered(project)) < 8:
        assert process.poll() is None and time.monotonic() < deadline, (project / "log").read_text()
        time.sleep(0.01)
    pid = answered(project)[-1]["pid"]
    os.kill(pid, kill)
    return int(pid)


def finished(project: Path, process: subprocess.Popen[bytes]) -> dict[str, str]:
    """Hashes of the tables of a build that ended well and asked nothing twice."""
    assert process.wait(120) == 0, (project / "log").read_text()
    asked = Counter(line["asked"] for line in answered(project))
    assert set(asked.values()) == {1}
    return hashes(project / "data")
