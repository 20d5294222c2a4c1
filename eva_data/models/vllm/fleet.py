"""Keeps the servers of a model running: starts them, watches them, replaces the dead, and tells jobs which there are.

Each server has a thread of its own. It starts the server, notes it in the register, and watches it. If the server
fails, the thread takes it out of the register and starts another in its place, with longer and longer pauses. A job
follows the register, so requests go to the servers that there are, or wait for one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType

from eva_data.config import RewardServer, VllmModel
from eva_data.config.machines.launching import ONE_SERVER, Launching, LocalServers, SlurmServers
from eva_data.errors import ModelError
from eva_data.models.vllm import register
from eva_data.models.vllm.command import arguments, interpreter
from eva_data.models.vllm.hosts import Launcher, Local
from eva_data.models.vllm.server import POLL_SECONDS, OnWait, VllmServer

HEALTH_SECONDS = 5.0
"""Seconds between two looks at a server's health."""
UNWELL_SECONDS = 60.0
"""A server that is not healthy for so many seconds is replaced. A busy server may answer late."""
STEADY_SECONDS = 600.0
"""A server that ran for so long counts its failures anew."""
LONGEST_PAUSE = 60.0
DRAIN_SECONDS = 120.0
"""So many seconds before a server is ended from outside, it gets no further request."""


class _Stopped(Exception):
    """The fleet is being stopped."""


class Fleet:
    """All servers of one model."""

    def __init__(
        self,
        block: VllmModel | RewardServer,
        path: Path,
        name: str,
        *,
        log: Path,
        key: str,
        launcher: Launcher,
        launching: Launching,
        register: Path,
        on_wait: OnWait | None = None,
        on_note: Callable[[str], object] = lambda text: None,
    ) -> None:
        self._block, self._path, self._name, self._key = block, path, name, key
        self._log, self._register = log, register
        self._launcher, self._restarts = launcher, launching.restarts
        self._on_wait, self._on_note = on_wait, on_note
        self.size = launching.replicas or launcher.count(block.tensor_parallel * block.data_parallel)
        interpreter(block, key)
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._up: dict[int, VllmServer] = {}
        self._servers: dict[int, VllmServer] = {}
        self._was_up = False
        self._failed: dict[int, ModelError] = {}
        """The errors of servers that failed before any was up."""
        self._given_up: dict[int, ModelError] = {}
        self._told: SimpleQueue[str] = SimpleQueue()
        self._broken: Exception | None = None
        """What ended a thread that should have gone on."""
        self._last = ""
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start all servers, and return once one has answered a first request; the others follow.

        Raise the error of a server if none can be started.
        """
        register.write(self._register, {})
        self._threads = [
            threading.Thread(target=self._kept, args=(number,), daemon=True, name=f"vllm-{number}")
            for number in range(self.size)
        ]
        for thread in self._threads:
            thread.start()
        began = time.monotonic()
        try:
            while not self._was_up:
                with self._changed:
                    self._changed.wait(POLL_SECONDS)
                    if self._broken is not None:
                        raise self._broken
                    if len(self._failed) == self.size:
                        raise self._failed[min(self._failed)]
                if self._on_wait:
                    self._on_wait(time.monotonic() - began, self._last)
        except BaseException:
            self.stop()
            raise

    @property
    def given_up(self) -> bool:
        """Whether no server is left."""
        return len(self._given_up) == self.size or self._broken is not None

    def check(self) -> None:
        """Tell what happened to servers. Raise ModelError if all were given up."""
        while not self._told.empty():
            self._on_note(self._told.get())
        if self._broken is not None:
            raise self._broken
        if self.given_up:
            last = self._given_up[max(self._given_up)]
            tried = f"{self.size} servers" if self.size > 1 else "the server"
            raise ModelError(
                f"{tried} of `{self._key}` failed {self._restarts + 1} times in a row, at last so: {last}; what was "
                "finished is kept: find the cause in the log, then run the same command again"
            )

    def stop(self) -> None:
        """End all servers; return when nothing is left. It is safe to call this again."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._register.unlink(missing_ok=True)
        # A thread that waits for the answer of its server returns once the server is gone.
        for server in list(self._servers.values()):
            server.stop()
        for thread in self._threads:
            thread.join()
        self._threads = []

    def _kept(self, number: int) -> None:
        try:
            self._keep(number)
        except Exception as error:
            # This is the edge of the thread: the main thread must learn of it.
            with self._changed:
                self._broken = error
                self._changed.notify_all()

    def _keep(self, number: int) -> None:
        """Keep one server running until the fleet is stopped or the server is given up."""
        failures = 0
        while not self._stopping.is_set():
            log = self._log if number == 0 else self._log.with_stem(f"{self._log.stem}-{number}")
            server = VllmServer(
                self._block, self._path, self._name, log=log, key=self._key,
                on_wait=self._wait, launcher=self._launcher, number=number,
            )  # fmt: skip
            self._servers[number] = server
            began = time.monotonic()
            try:
                server.start()
                began = time.monotonic()
                self._enter(number, server)
                self._watch(number, server)
                continue
            except _Stopped:
                return
            except ModelError as error:
                cause = error
            finally:
                self._leave(number)
                server.stop()
            if self._stopping.is_set() or not self._somebody_was_up(number, cause):
                return
            failures = 1 if time.monotonic() - began >= STEADY_SECONDS else failures + 1
            if failures > self._restarts:
                self._told.put(f"server {number + 1} of {self.size} of `{self._key}` is given up: {cause}")
                self._given_up[number] = cause
                return
            pause = min(LONGEST_PAUSE, 2.0 ** (failures - 1))
            self._told.put(
                f"server {number + 1} of {self.size} of `{self._key}` is started again in {pause:.0f} s: {cause}"
            )
            self._stopping.wait(pause)

    def _watch(self, number: int, server: VllmServer) -> None:
        """Return when the server should be replaced in time. Raise ModelError when it has failed."""
        began = well = looked = time.monotonic()
        while not self._stopping.wait(POLL_SECONDS):
            server.check()
            left = server.seconds_left
            # A server with little time from its beginning is of use until its end.
            if left is not None and left < DRAIN_SECONDS < time.monotonic() - began:
                self._leave(number)
                self._told.put(
                    f"the time of server {number + 1} of `{self._key}` is over soon: another takes its place"
                )
                self._stopping.wait(max(0.0, left - 10))
                return
            now = time.monotonic()
            if now - looked >= HEALTH_SECONDS:
                looked = now
                if server.healthy:
                    well = time.monotonic()
                elif time.monotonic() - well > UNWELL_SECONDS:
                    raise ModelError(
                        f"vLLM at {server.url} has not been healthy for {UNWELL_SECONDS:.0f} seconds; its log is "
                        f"{server.log}"
                    )
        raise _Stopped

    def _wait(self, seconds: float, last: str) -> None:
        self._last = last
        if self._stopping.is_set():
            raise _Stopped

    def _enter(self, number: int, server: VllmServer) -> None:
        with self._changed:
            if self._stopping.is_set():
                raise _Stopped
            self._up[number] = server
            self._was_up = True
            self._write()
            self._changed.notify_all()

    def _leave(self, number: int) -> None:
        with self._changed:
            if self._up.pop(number, None) is not None and not self._stopping.is_set():
                self._write()

    def _write(self) -> None:
        register.write(self._register, {server.url: server.key for server in self._up.values()})

    def _somebody_was_up(self, number: int, cause: ModelError) -> bool:
        """Wait until any server was up, which makes another attempt worthwhile. False if none ever is."""
        with self._changed:
            if self._was_up:
                return True
            self._failed[number] = cause
            self._changed.notify_all()
            while not self._was_up and not self._stopping.is_set():
                self._changed.wait()
            return not self._stopping.is_set()


class Servers:
    """Runs the servers of one model at a time: models that need vLLM do not share a GPU."""

    def __init__(
        self,
        folder: Path,
        launching: Launching = ONE_SERVER,
        *,
        on_wait: OnWait | None = None,
        on_note: Callable[[str], object] = lambda text: None,
    ) -> None:
        """`folder` is for what jobs and servers read; with `slurm` and `ray`, every node must see it."""
        self._folder, self._launching = folder, launching
        self._on_wait, self._on_note = on_wait, on_note
        self._fleet: Fleet | None = None
        self._launcher: Launcher | None = None
        self._what: tuple[str, ...] = ()

    def reach(
        self, block: VllmModel | RewardServer, path: Path, name: str, *, log: Path, key: str
    ) -> dict[str, object]:
        """How a job reaches servers with this model, as fields of its connection.

        The servers are started unless they run already; other servers are stopped first.
        """
        what = (interpreter(block, key), *arguments(block, path, name))
        if self._fleet is None or self._fleet.given_up or self._what != what:
            self.stop()
            if self._launcher is None:
                self._launcher = launcher_of(self._launching, self._folder)
            fleet = Fleet(
                block, path, name, log=log, key=key,
                launcher=self._launcher, launching=self._launching, register=self._register,
                on_wait=self._on_wait, on_note=self._on_note,
            )  # fmt: skip
            fleet.start()
            self._fleet, self._what = fleet, what
        return {"urls": [], "servers_file": str(self._register), "replicas": self._fleet.size}

    @property
    def _register(self) -> Path:
        return (self._folder / "register.json").absolute()

    def check(self) -> None:
        """Tell what happened to servers. Raise ModelError if those that should be running are given up."""
        if self._fleet is not None:
            self._fleet.check()

    def stop(self) -> None:
        """End the servers, if there are any."""
        if self._fleet is not None:
            fleet, self._fleet = self._fleet, None
            fleet.stop()

    def close(self) -> None:
        """End the servers and give up what starts them."""
        self.stop()
        if self._launcher is not None:
            self._launcher.close()
            self._launcher = None

    def __enter__(self) -> Servers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def launcher_of(launching: Launching, folder: Path) -> Launcher:
    """The way to start servers that the settings name. Raise ModelError if this machine does not have it."""
    if isinstance(launching, LocalServers):
        return Local(grouped=launching.replicas != 1)
    if isinstance(launching, SlurmServers):
        from eva_data.models.vllm.slurm import Slurm

        return Slurm(launching, folder)
    from eva_data.models.vllm.ray_cluster import RayCluster

    return RayCluster(launching)
