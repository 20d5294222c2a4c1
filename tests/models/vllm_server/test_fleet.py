"""Several servers of a model: requests go on when one of them dies, and what was finished is not asked again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from fake_vllm import answered, starts, write_interpreter
from vllm_builds import build, finished, killed_in_the_middle

from eva_data.config import VllmModel
from eva_data.config.machines.launching import LocalServers
from eva_data.errors import ModelError
from eva_data.models.vllm.fleet import Servers
from eva_data.models.vllm.register import read

pytestmark = pytest.mark.slow


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
        "2 servers of `solver` failed 2 times in a row, at last so: vLLM with the model /models/m was ended by SIGKILL"
    )
    assert str(raised.value).endswith(
        "what was finished is kept: find the cause in the log, then run the same command again"
    )
    assert sum("is started again in 1 s" in note for note in told) == 2
    assert sum("is given up" in note for note in told) == 2
