"""Starts servers on a Ray cluster that runs already: each is an actor that holds the GPUs and runs vLLM as its child.

An actor belongs to the process that asked for it. If that process ends or is killed, Ray ends the actor, and the
supervisor between actor and server ends the server. An actor whose raylet was killed goes on, and so does one that is
cut off from the cluster. Therefore an actor also ends itself.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from eva_data.config.machines.launching import RayServers
from eva_data.models.cluster.connecting import ANSWER_SECONDS, connected
from eva_data.models.vllm.hosts import KEY, Host, Order, environment, free_port
from eva_data.supervise import Supervised

_LEASE_SECONDS = 300.0
"""An actor that nobody has asked for so long ends itself. Its server is looked at several times a second."""


class RayCluster:
    """Starts actors on the cluster, and leaves it again when it is closed."""

    def __init__(self, launching: RayServers) -> None:
        """Raise MissingExtraError without Ray, and ModelError if there is no cluster at the address."""
        self._ray = connected(launching.address, "servers.address")

    def count(self, gpus: int) -> int:
        return 1

    def begin(self, order: Order) -> Host:
        known = sum(node["Resources"].get("GPU", 0) for node in self._ray.nodes() if node["Alive"])
        needed = order.gpus if known else 0
        actor = self._ray.remote(ServerActor).options(num_gpus=needed, num_cpus=1, max_restarts=0)
        return _Actor(self._ray, actor.remote(), order, needed)

    def close(self) -> None:
        self._ray.shutdown()


class ServerActor:
    """Holds a place on a node of the cluster, and runs one server there."""

    def __init__(self) -> None:
        self._process: Supervised | None = None
        self._raylet = os.getppid()
        self._asked = time.monotonic()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while os.getppid() == self._raylet and time.monotonic() - self._asked < _LEASE_SECONDS:
            time.sleep(1)
        self.stop()
        os._exit(1)

    def begin(self, command: list[str], key: str, log: str) -> tuple[str, int]:
        """Start the server, and return its host and port."""
        import ray

        port = free_port("0.0.0.0")
        whole = [*command, "--host", "0.0.0.0", "--port", str(port)]
        self._process = Supervised(whole, log=Path(log), env=environment(os.environ) | {KEY: key})
        return ray.util.get_node_ip_address(), port

    def poll(self) -> int | None:
        """None while the server runs, then its exit status."""
        self._asked = time.monotonic()
        assert self._process is not None
        return self._process.poll()

    def stop(self) -> None:
        """End the server and everything that it started."""
        if self._process is not None:
            self._process.stop()


class _Actor:
    """One actor, from the side of the process that asked for it."""

    def __init__(self, ray: Any, actor: Any, order: Order, gpus: int) -> None:
        self._ray, self._actor, self._gpus = ray, actor, gpus
        self._begun = actor.begin.remote([*order.command], order.key, str(order.log.absolute()))
        self._address: tuple[str, int] | None = None
        self._status: int | None = None

    def poll(self) -> int | None:
        if self._status is None and self.address() is not None:
            self._status = self._asked(self._actor.poll.remote())
        return self._status

    def address(self) -> tuple[str, int] | None:
        if self._address is None and self._status is None:
            try:
                ready, _ = self._ray.wait([self._begun], timeout=0)
                if ready:
                    self._address = self._ray.get(self._begun)
            except self._ray.exceptions.RayError:
                self._status = 1
        return self._address

    def waits_for(self) -> str:
        if self._address is not None:
            return ""
        return f"the Ray cluster has no {self._gpus} free GPUs yet" if self._gpus else "the Ray cluster is busy"

    def seconds_left(self) -> float | None:
        return None

    def stop(self) -> None:
        if self._address is not None and self._status is None:
            self._asked(self._actor.stop.remote())
        self._ray.kill(self._actor, no_restart=True)
        self._status = 1 if self._status is None else self._status

    def _asked(self, answer: Any) -> int | None:
        """An actor's answer; None if it gives none in time, and 1 if it or its node is gone."""
        try:
            found: int | None = self._ray.get(answer, timeout=ANSWER_SECONDS)
        except self._ray.exceptions.GetTimeoutError:
            # Its node may be busy.
            return None
        except self._ray.exceptions.RayError:
            return 1
        return found
