"""Several servers of a model: requests go on when one of them dies, and what was finished is not asked again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from fake_vllm import answered, starts, write_interpreter
from sandbox_runs import command, hashes

from eva_data.config import VllmModel
from eva_data.config.machines.launching import LocalServers
from eva_data.errors import ModelError
from eva_data.models.vllm.fleet import Servers
from eva_data.models.vllm.register import read

pytestmark = pytest.mark.slow


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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    project = tmp_path_factory.mktemp("undisturbed") / "project"
    found = finished(project, build(project))
    assert len({line["pid"] for line in answered(project)}) == 2
    return found


def test_a_server_killed_in_the_middle_is_replaced_and_the_tables_are_the_same(
    tmp_path: Path, undisturbed: dict[str, str]
) -> None:
    project = tmp_path / "project"
    process = build(project)
    pid = killed_in_the_middle(project, process)
    assert finished(project, process) == undisturbed
    assert len({line["pid"] for line in answered(project)} - {pid}) >= 1
    told = " ".join((project / "log").read_text().split())
    assert "of `solver` is started again in 1 s: vLLM with the model" in told


def test_a_build_stops_with_one_sentence_when_every_server_keeps_failing(tmp_path: Path) -> None:
    block = VllmModel(backend="vllm", model="m", python=write_interpreter(tmp_path), arguments=("--fake=answers",))
    told: list[str] = []
    with Servers(
        tmp_path / "state", LocalServers(launch="local", replicas=2, restarts=1), on_note=told.append
    ) as servers:
        reach = servers.reach(block, Path("/models/m"), "m", log=tmp_path / "server.log", key="solver")
        register = Path(str(reach["servers_file"]))
        deadline = time.monotonic() + 60
        killed: set[int] = set()
        with pytest.raises(ModelError) as raised:
            while time.monotonic() < deadline:
                for start in starts(tmp_path):
                    if start["pids"][0] not in killed and read(register):
                        killed.add(start["pids"][0])
                        os.kill(start["pids"][0], signal.SIGKILL)
                servers.check()
                time.sleep(0.05)
    assert len(killed) == 4
    assert str(raised.value).startswith(
        "2 servers of `solver` failed 2 times in a row, at last so: vLLM with the model /models/m ended with status 137"
    )
    assert str(raised.value).endswith(
        "what was finished is kept: find the cause in the log, then run the same command again"
    )
    assert sum("is started again in 1 s" in note for note in told) == 2
    assert sum("is given up" in note for note in told) == 2
