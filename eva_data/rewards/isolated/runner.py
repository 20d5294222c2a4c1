"""Starts the two sandboxes of a response (see `inside`) with bubblewrap, and reads the verdicts of the tests.

A sandbox has namespaces of its own for files, processes, users, network and IPC, no capabilities, an empty environment,
a read-only `/usr`, and 16 MiB in `/tmp`. If eva-data runs as root, the sandbox is started as the user `nobody`, since
the number of root's processes is not limited.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import getsource
from pathlib import Path
from typing import Any

from eva_data.config.rewards import Sandboxed
from eva_data.errors import ConfigError
from eva_data.rewards.isolated import inside

NOBODY = 65534
MEBIBYTE = 1 << 20
SCRATCH = 16 * MEBIBYTE
"""Bytes that a sandbox may write, all files together, to `/tmp`."""
LARGEST_FILE = 4 * MEBIBYTE
OPEN_FILES = 64
START_SECONDS = 20.0
"""Seconds that two sandboxes may take to start, beside the time of the tests."""


@dataclass(frozen=True)
class Sandbox:
    """What a sandbox needs of this machine."""

    bwrap: str
    python: str


def sandbox_of(block: Sandboxed) -> Sandbox:
    """The programs of a sandbox. Raise ConfigError if there is no bubblewrap or no Python under `/usr`."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise ConfigError(
            f"{block.CALLED} runs what a model wrote, and there is no `bwrap` (bubblewrap) to isolate it: "
            "install it, such as with `apt-get install bubblewrap`, on Linux; without it no code is run"
        )
    if not block.python.startswith("/usr/") or not Path(block.python).exists():
        raise ConfigError(
            f"`python` of {block.CALLED} is {block.python}, which has to be a Python under /usr, all that a sandbox "
            "sees: name one"
        )
    return Sandbox(bwrap, block.python)


def limits_of(block: Sandboxed) -> dict[str, int]:
    """The limits of each process of a sandbox, by their names in `resource`."""
    return {
        "RLIMIT_AS": block.memory_mb * MEBIBYTE,
        "RLIMIT_CPU": int(block.seconds) + 1,
        "RLIMIT_NPROC": block.processes,
        "RLIMIT_FSIZE": LARGEST_FILE,
        "RLIMIT_NOFILE": OPEN_FILES,
        "RLIMIT_CORE": 0,
    }


def passed(block: Sandboxed, code: str, tests: Sequence[str]) -> list[bool]:
    """Whether the functions of `code` pass each test. What has not passed when the time is over has failed.

    Raise ConfigError if a sandbox cannot be started.
    """
    with _started(block, code, {"tests": list(tests), "calls": []}) as results:
        verdicts = _read(results, len(tests), block.seconds)
    return [verdict == ord("1") for verdict in verdicts.ljust(len(tests), b"0")]


def outputs(block: Sandboxed, code: str, calls: Sequence[str]) -> list[str | None]:
    """What each call gives with the functions of `code`: the value as text (`inside.canonical`), or `raises NAME`.

    It is None if the code gives no plain value, and for all calls that are not done when the time is over. Raise
    ConfigError if a sandbox cannot be started.
    """
    with _started(block, code, {"tests": [], "calls": list(calls)}) as results:
        lines = _read(results, len(calls) * inside.LONGEST_LINE, block.seconds, lines=len(calls)).split(b"\n")[:-1]
    said = [json.loads(line) or {} for line in lines[: len(calls)]]
    found = [each.get("value", f"raises {each['error']}" if "error" in each else None) for each in said]
    return [*found, *[None] * (len(calls) - len(found))]


@contextmanager
def _started(block: Sandboxed, code: str, job: Mapping[str, Any]) -> Iterator[int]:
    """Start the two sandboxes of some code with a job, and give the descriptor at which the results come."""
    sandbox, limits = sandbox_of(block), limits_of(block)
    requests, replies, results = os.pipe(), os.pipe(), os.pipe()
    started: list[subprocess.Popen[bytes]] = []
    try:
        started.append(_start(sandbox, ["hold", json.dumps(limits)], stdin=requests[0], stdout=replies[1]))
        given = (requests[1], replies[0], results[1])
        started.append(
            _start(sandbox, ["test", json.dumps(limits), *map(str, given)], stdin=subprocess.PIPE, pass_fds=given)
        )
        for descriptor in (requests[0], replies[1], *given):
            os.close(descriptor)
        _begin(block, started[1], json.dumps({"code": code} | dict(job)).encode(), results[0])
        yield results[0]
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()
            for stream in (process.stdin, process.stderr):
                if stream is not None:
                    stream.close()
        os.close(results[0])


def _begin(block: Sandboxed, process: subprocess.Popen[bytes], job: bytes, results: int) -> None:
    """Hand over a job, and wait until it begins. Raise ConfigError if it does not."""
    assert process.stdin is not None
    try:
        process.stdin.write(job)
        process.stdin.close()
    except BrokenPipeError:
        pass
    if _read(results, 1, START_SECONDS) != b"r":
        process.kill()
        raise ConfigError(f"the sandbox of {block.CALLED} did not start: {_error(process)}")


def _read(descriptor: int, count: int, seconds: float, *, lines: int | None = None) -> bytes:
    """Up to `count` bytes, or so many lines, as far as they come within the time."""
    deadline, found, ended = time.monotonic() + seconds, bytearray(), 0
    while len(found) < count and (lines is None or ended < lines):
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(descriptor, min(count - len(found), MEBIBYTE)) if ready else b""
        if not part:
            break
        found += part
        ended += part.count(b"\n")
    return bytes(found)


def _error(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    return process.stderr.read(2000).decode(errors="replace").strip().rpartition("\n")[2] or "it said nothing"


def _start(sandbox: Sandbox, arguments: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
    as_nobody: Mapping[str, Any] = {}
    if os.geteuid() == 0:
        as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    command = [
        *(sandbox.bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
        *("--ro-bind", "/usr", "/usr", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
        *("--symlink", "usr/bin", "/bin", "--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"),
        *("--size", str(SCRATCH), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"),
        *(sandbox.python, "-I", "-S", "-c", getsource(inside), *arguments),
    ]
    told = {"stdout": subprocess.DEVNULL} | streams
    return subprocess.Popen(command, stderr=subprocess.PIPE, cwd="/", env={}, **told, **as_nobody)


_PROBE = """
import os, resource, socket
def probe():
    found = []
    if [name for _, name in socket.if_nameindex() if name != "lo"]:
        found.append("it sees a network")
    if len([name for name in os.listdir("/proc") if name.isdigit()]) > 4:
        found.append("it sees other processes")
    if set(os.environ) - {"PWD", "LC_CTYPE"}:
        found.append("it sees the environment")
    for place in ("/", "/usr", "/dev/shm", "/proc"):
        try:
            open(os.path.join(place, "probe"), "w").close()
            found.append("it writes to " + place)
        except OSError:
            pass
    if os.geteuid() == 0 or "CapEff:\\t0000000000000000" not in open("/proc/self/status").read():
        found.append("it has rights of root")
    for name in (LIMITS):
        if resource.getrlimit(getattr(resource, name))[1] == resource.RLIM_INFINITY:
            found.append("it has no " + name)
    return found
"""


def refuse_without_isolation(block: Sandboxed) -> None:
    """Raise ConfigError unless a sandbox can be started here and its probe finds no way out that it knows."""
    probe = _PROBE.replace("(LIMITS)", repr(tuple(limits_of(block))))
    verdicts = passed(block, probe, ["assert isinstance(probe(), list)", "assert probe() == []"])
    if verdicts != [True, True]:
        what = "its probe did not run" if not verdicts[0] else "its probe found a way out"
        raise ConfigError(
            f"{block.CALLED} runs what a model wrote, and the sandbox does not isolate it here ({what}): allow "
            "unprivileged user namespaces to bubblewrap, or score elsewhere; no code was run"
        )
