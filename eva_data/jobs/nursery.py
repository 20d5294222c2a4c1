"""Starts the child processes of jobs from a process that has imported their libraries already.

A job on a small model lasts seconds, and half of them are imports of Distilabel, torch and transformers. On Linux, a
command keeps one such process, the nursery, and each job is a fork of it. Only imports happen before a fork: a nursery
never computes. It is also the supervisor of the job that it forked (see `supervise`): when a job ends, nothing of it is
left, and if the command is killed, so are the nursery and its job.

Jobs on a GPU are not started here, since a driver that was asked before a fork does not work after it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import runpy
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, Protocol

from eva_data.errors import JobError
from eva_data.supervise import Overseer, Supervised

IDLE_SECONDS = 120.0
"""A nursery that waits longer for a job ends, so that a long-lived process does not keep its memory."""

_OWN = frozenset({"HF_DATASETS_CACHE", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"})
"""Variables that differ from job to job, which a job sets for itself. Scikit-learn sets two as topics are made."""


class Child(Protocol):
    """A job's process."""

    def wait(self, timeout: float | None = None) -> int:
        """The status of the process. Raise subprocess.TimeoutExpired if it runs for more than `timeout` seconds."""
        ...


@contextlib.contextmanager
def child_process(
    program: str,
    arguments: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str],
    imports: Sequence[str] | None,
    cwd: Path | None = None,
) -> Iterator[Child]:
    """Run a module by its name or a script by its path, and end it and all that it started on leaving the context.

    `imports` are the modules that it begins with, if it may be a fork; None starts a new interpreter.
    """
    if imports is None or sys.platform != "linux":
        command = [sys.executable, *([program] if program.endswith(".py") else ["-m", program]), *arguments]
        with Supervised(command, log=log, env=env, cwd=cwd) as child:
            yield child
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    order = {
        "program": program,
        "arguments": [*arguments],
        "log": str(log),
        "imports": [*imports],
        "cwd": str(cwd or Path.cwd()),
    }
    nursery = _begun(order | {"env": {name: env[name] for name in _OWN & env.keys()}}, env)
    try:
        yield nursery
    finally:
        if nursery.busy:
            nursery.stop()


class _Nursery:
    """The parent's side. It runs one job at a time."""

    def __init__(self, env: Mapping[str, str], where: str) -> None:
        self.env = _shared(env)
        self.pid = os.getpid()
        self.busy = False
        self._process = subprocess.Popen(
            # The folder is there for whoever looks at a list of processes.
            [sys.executable, "-m", __name__, where],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            start_new_session=True,
        )
        self._said = b""

    def is_ready(self) -> bool:
        return not self.busy and self._process.poll() is None and self.pid == os.getpid()

    def begin(self, order: Mapping[str, object]) -> bool:
        """Start a job; False if the nursery has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        self.busy = self._line(None) is not None
        return self.busy

    def wait(self, timeout: float | None = None) -> int:
        line = self._line(timeout)
        self.busy = False
        # Only a kill ends a nursery with a job and without a word.
        return self._process.wait() if line is None else int(line)

    def _line(self, timeout: float | None) -> bytes | None:
        """The next line; None if the nursery has ended. Raise subprocess.TimeoutExpired after `timeout` seconds."""
        assert self._process.stdout is not None
        deadline = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self._said:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([self._process.stdout], [], [], left)[0]:
                raise subprocess.TimeoutExpired("a job", timeout or 0.0)
            read = os.read(self._process.stdout.fileno(), 64)
            if not read:
                return None
            self._said += read
        line, _, self._said = self._said.partition(b"\n")
        return line

    def stop(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self.busy = False


_kept: list[_Nursery] = []


def _begun(order: Mapping[str, object], env: Mapping[str, str]) -> _Nursery:
    """The nursery of this process with this environment, or else a new one, at work on the order."""
    for nursery in [each for each in _kept if each.env == _shared(env)]:
        if nursery.is_ready() and nursery.begin(order):
            return nursery
        _kept.remove(nursery)
        if nursery.pid == os.getpid() and not nursery.busy:
            nursery.stop()
    if not _kept:
        atexit.register(_stop_all)
    nursery = _Nursery(env, str(Path(str(order["log"])).parent))
    if not nursery.begin(order):
        raise JobError(f"the process that starts jobs ended at once; its last words are in {order['log']}")
    _kept.append(nursery)
    return nursery


def _stop_all() -> None:
    """End the nurseries of this process, and return when they are gone."""
    for nursery in _kept:
        if nursery.pid == os.getpid():
            nursery.stop()


def _shared(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in _OWN}


def main() -> None:
    """Fork a job for every line of standard input, and answer two lines: one as it begins, then its status.

    End when standard input closes.
    """
    overseer = Overseer()
    answers = os.dup(1)
    os.dup2(2, 1)
    waiting = b""
    while overseer.heard(IDLE_SECONDS):
        read = os.read(0, 1 << 16)
        if not read:
            return
        waiting += read
        if b"\n" not in waiting:
            continue
        line, _, waiting = waiting.partition(b"\n")
        order = json.loads(line)
        os.write(answers, b"begun\n")
        _write_to(Path(order["log"]))
        for name in order["imports"]:
            importlib.import_module(name)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(answers)
            overseer.leave()
            _become(order)
        os.write(answers, b"%d\n" % overseer.watch(pid))


def _write_to(log: Path) -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)


def _become(order: Mapping[str, Any]) -> NoReturn:
    """Be the job: run its module in a session of its own, without input, and end with its status.

    The end is that of an interpreter, but for the modules, which are not taken down one by one: after Distilabel, torch
    and transformers, that takes longer than a small job.
    """
    status = 1
    try:
        _run(order)
        status = 0
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status & 0xFF)


def _run(order: Mapping[str, Any]) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.environ.update(order["env"])
    if "datasets.config" in sys.modules:
        # It has read the variable already.
        vars(sys.modules["datasets.config"])["HF_DATASETS_CACHE"] = Path(order["env"]["HF_DATASETS_CACHE"])
    os.chdir(order["cwd"])
    program = order["program"]
    sys.argv = [program, *order["arguments"]]
    if program.endswith(".py"):
        sys.path.insert(0, str(Path(program).parent))
        runpy.run_path(program, run_name="__main__")
    else:
        # It may be there already, imported for all that it imports. It runs anew, as the main module.
        sys.modules.pop(program, None)
        runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
    # There is nothing to put in order, and taking so many modules down would last.
    os._exit(0)
