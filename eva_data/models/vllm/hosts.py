"""Where a server runs: what the ways to start one have in common, and the way on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from eva_data.models.vllm.command import HOST
from eva_data.supervise import Supervised

KEY = "VLLM_API_KEY"
"""The variable from which vLLM takes the key that requests must show."""


@dataclass(frozen=True)
class Order:
    """A server to start."""

    command: Sequence[str]
    """Interpreter and arguments, without host and port."""
    key: str = field(repr=False)
    """The key that this server alone accepts."""
    log: Path
    gpus: int
    """GPUs that it takes."""
    number: int = 0
    """Its number among the servers of the model, from 0."""
    of: str = "model"
    """The key of the model's block, such as `solver`."""


class Host(Protocol):
    """One server's process, wherever it runs."""

    def poll(self) -> int | None:
        """None while it runs or waits to run, then its exit status."""

    def address(self) -> tuple[str, int] | None:
        """Host and port; None while they are not known."""

    def waits_for(self) -> str:
        """What it waits for before it starts, such as free GPUs; empty if it has started."""

    def seconds_left(self) -> float | None:
        """Seconds until it will be ended from outside; None if that is not known."""

    def stop(self) -> None:
        """End it with everything that it started; return when nothing is left. It is safe to call this again."""


class Launcher(Protocol):
    """A way to start servers."""

    def begin(self, order: Order) -> Host:
        """Start a server, and do not wait for it. Raise ModelError if it cannot be started."""

    def count(self, gpus: int) -> int:
        """Number of servers if the settings do not say it. Each takes so many GPUs."""

    def close(self) -> None:
        """Give up what the launcher itself holds, after its servers are stopped."""


class Local:
    """Starts servers as child processes of this process, so that none outlives it."""

    def __init__(self, *, grouped: bool) -> None:
        """With `grouped`, each server sees only the GPUs of its group."""
        self._gpus = gpus_here() if grouped else ()

    def begin(self, order: Order) -> Host:
        return _Here(order, self._group(order.number, order.gpus))

    def count(self, gpus: int) -> int:
        return max(1, len(self._gpus) // gpus)

    def close(self) -> None:
        pass

    def _group(self, number: int, size: int) -> tuple[str, ...]:
        groups = len(self._gpus) // size
        start = number % groups * size if groups else 0
        return self._gpus[start : start + size] if groups else ()


class _Here:
    def __init__(self, order: Order, gpus: Sequence[str]) -> None:
        # If another program takes the port in between, this server ends and says so.
        self._port = free_port(HOST)
        command = [*order.command, "--host", HOST, "--port", str(self._port)]
        seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
        self._process = Supervised(command, log=order.log, env=environment(os.environ) | seen | {KEY: order.key})

    def poll(self) -> int | None:
        return self._process.poll()

    def address(self) -> tuple[str, int] | None:
        return HOST, self._port

    def waits_for(self) -> str:
        return ""

    def seconds_left(self) -> float | None:
        return None

    def stop(self) -> None:
        self._process.stop()


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server, before its own key is added."""
    # A file in the working directory must not be imported as a module of vLLM.
    return {name: value for name, value in given.items() if name != KEY} | {"PYTHONSAFEPATH": "1"}


def gpus_here() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty if there are none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(name.strip() for name in visible.split(",") if name.strip() not in ("", "-1"))
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    asked = [program, "--query-gpu=index", "--format=csv,noheader"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return tuple(found.stdout.split()) if found.returncode == 0 else ()


def free_port(host: str) -> int:
    """A port of this machine that no program listens on."""
    with socket.socket() as found:
        found.bind((host, 0))
        port: int = found.getsockname()[1]
        return port
