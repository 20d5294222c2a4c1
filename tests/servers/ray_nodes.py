"""A small Ray cluster on this machine, for tests."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from eva_data.errors import ModelError

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs the package ray, which `make ray` installs"
)

_SETTINGS = {
    # Nothing is told to the makers of Ray.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise, every other program on the machine goes before the actors.
    "RAY_worker_niceness": "0",
    # What an actor imports.
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)]),
}


class Doubles:
    """Stands for a model: twice the number, and no number below 0."""

    def __init__(self) -> None:
        self.facts = {"of": "numbers"}

    def __call__(self, batch: float) -> float:
        if batch < 0:
            raise ModelError("there is no number below 0")
        return 2 * batch


class Slow(Doubles):
    """The same in a second."""

    def __call__(self, batch: float) -> float:
        time.sleep(1)
        return super().__call__(batch)


@contextmanager
def ray_cluster(nodes: int) -> Iterator[Any]:
    """A head without a place for actors, and nodes with one processor each."""
    before = {name: os.environ.get(name) for name in _SETTINGS}
    os.environ.update(_SETTINGS)
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1)
        yield cluster
    finally:
        cluster.shutdown()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def raylet(node: Any) -> psutil.Process:
    """The process of a node that starts its actors."""
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def model_actors(node: Any) -> list[psutil.Process]:
    """The actors of a node that hold a model."""
    return [each for each in raylet(node).children() if "ModelActor" in " ".join(each.cmdline())]


def kill(process: psutil.Process) -> None:
    """End a process as a lack of memory would, and wait until it is gone."""
    process.send_signal(signal.SIGKILL)
    psutil.wait_procs([process], timeout=10)
