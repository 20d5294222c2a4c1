"""Servers as actors of a Ray cluster: an actor or a whole node that dies is replaced."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fake_vllm import starts, write_interpreter
from processes import alive

from eva_data.config import VllmModel
from eva_data.config.machines.launching import RayServers
from eva_data.errors import ModelError
from eva_data.models.vllm.fleet import Servers
from eva_data.models.vllm.register import read

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray, the extra `ray`"),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head without GPUs and two nodes with one pretended GPU each, all on this machine."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    cluster.add_node(num_cpus=2, num_gpus=1)
    cluster.add_node(num_cpus=2, num_gpus=1)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_that_dies_takes_its_server_with_it_and_another_follows(tmp_path: Path, cluster: Any) -> None:
    block = VllmModel(backend="vllm", model="m", python=write_interpreter(tmp_path), arguments=("--fake=answers",))
    told: list[str] = []
    launching = RayServers(launch="ray", address=cluster.address, replicas=2)
    with Servers(tmp_path / "state", launching, on_note=told.append) as servers:
        reach = servers.reach(block, Path("/models/m"), "m", log=tmp_path / "server.log", key="solver")
        register = Path(str(reach["servers_file"]))
        wait_for(lambda: len(read(register)) == 2)
        before, (first, second) = set(read(register)), [start["pids"] for start in starts(tmp_path)]
        # The actor's process dies: its supervisor ends the server, and another actor takes the GPU.
        actor = psutil.Process(first[0]).parents()[1]
        actor.send_signal(signal.SIGKILL)
        wait_for(lambda: len(starts(tmp_path)) == 3 and len(read(register)) == 2)
        assert len(set(read(register)) & before) == 1
        assert alive(first) == []
        # A raylet dies, and with it all its actors; a new node comes later.
        third = starts(tmp_path)[2]["pids"]
        raylet = next(each for each in psutil.Process(second[0]).parents() if "raylet" in each.name())
        os.kill(raylet.pid, signal.SIGKILL)
        wait_for(lambda: len(read(register)) == 1)
        wait_for(lambda: alive(second) == [])
        cluster.add_node(num_cpus=2, num_gpus=1)
        wait_for(lambda: len(read(register)) == 2)
        servers.check()
        assert alive(third) == third
    pids = [pid for start in starts(tmp_path) for pid in start["pids"]]
    wait_for(lambda: alive(pids) == [])
    # Until Ray knows that a node is dead, it may place the next actor there too.
    assert sum("is started again" in note for note in told) in (2, 3)
    assert not any("is given up" in note for note in told)


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    block = VllmModel(backend="vllm", model="m", python=write_interpreter(tmp_path))
    with (
        pytest.raises(ModelError, match=r"there is no Ray cluster at `127\.0\.0\.1:1` .*`servers\.address`"),
        Servers(tmp_path / "state", RayServers(launch="ray", address="127.0.0.1:1")) as servers,
    ):
        servers.reach(block, Path("/models/m"), "m", log=tmp_path / "log", key="solver")
