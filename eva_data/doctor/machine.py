"""What this machine has: packages, GPUs, memory, disk and open files."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import psutil

from eva_data.config import Config
from eva_data.config.machines.computing import RayEngine
from eva_data.config.machines.launching import RayServers, SlurmServers
from eva_data.config.models import Endpoint, Serving
from eva_data.config.rewards import Sandboxed
from eva_data.doctor.blocks import blocks_of, gpus_of, trains_here
from eva_data.doctor.examined import Examined, tried
from eva_data.errors import MissingExtraError
from eva_data.iteration.run import Run
from eva_data.rewards.isolated.runner import refuse_without_isolation

_GIB = 2**30
_LEAST_DISK, _ENOUGH_DISK = 1 * _GIB, 20 * _GIB
NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "9p")
"""File systems, by the beginnings of their names, on which SQLite's locks are not safe."""
_SPARE_FILES = 256
_SECONDS = 30


def look_at_machine(run: Run) -> Iterator[Examined]:
    """Findings about this machine, as far as the settings need it."""
    config = run.config
    if trains_here(config):
        yield tried("packages", _training_packages)
    for key, block in blocks_of(config):
        if isinstance(block, Sandboxed):
            yield tried(key, partial(_isolated, block))
    yield from _gpus(config)
    yield _memory()
    hub = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    places = {"folder": config.folder, "ledger": run.ledger, "Hub cache": hub}
    for name, place in places.items():
        yield _disk(name, place)
    yield _ledger_place(run.ledger)
    yield _open_files(config)


def _training_packages() -> str:
    for package in ("trl", "accelerate", "peft"):
        if find_spec(package) is None:
            raise MissingExtraError.of(package, "train")
    return "trl, accelerate and peft are installed"


def _isolated(block: Sandboxed) -> str:
    refuse_without_isolation(block)
    return "bubblewrap isolates what a model wrote"


def _gpus(config: Config) -> Iterator[Examined]:
    elsewhere = isinstance(config.servers, SlurmServers | RayServers)
    spread = isinstance(config.execution, RayEngine)

    def trained(key: str) -> bool:
        return key == "solver" and trains_here(config)

    wanted = {
        key: gpus_of(block)
        for key, block in blocks_of(config)
        if gpus_of(block) and not (elsewhere if isinstance(block, Serving) else spread and not trained(key))
    }
    program = shutil.which("nvidia-smi")
    if program is None:
        if wanted:
            yield Examined(
                "gpu",
                "problem",
                f"`{next(iter(wanted))}` wants a GPU, but there is no `nvidia-smi` on this machine: install NVIDIA's "
                "driver, set `device: cpu`, or name the `base_url` of a server on another machine",
            )
        else:
            yield Examined("gpu", "ok", "none is needed")
        return
    query = "--query-gpu=index,name,memory.total,memory.used,driver_version"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Examined("gpu", "problem" if wanted else "unknown", f"`nvidia-smi` does not answer: {error}")
        return
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())[:300]
        yield Examined("gpu", "problem" if wanted else "warning", f"`nvidia-smi` fails: {said}")
        return
    gpus = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines() if line.count(",") == 4]
    for index, name, total, used, driver in gpus:
        taken = used.isdecimal() and total.isdecimal() and int(used) * 10 > int(total)
        more = ": another process holds a part of it" if taken else ""
        yield Examined(
            "gpu",
            "warning" if taken and wanted else "ok",
            f"{index}: {name}, {used} of {total} MiB, driver {driver}{more}",
        )
    most = max(wanted, key=lambda key: wanted[key], default=None)
    if most is not None and wanted[most] > len(gpus):
        yield Examined(
            "gpu",
            "problem",
            f"`{most}` takes {wanted[most]} GPUs, and there are {len(gpus)}: lower its `tensor_parallel` or "
            "`data_parallel`",
        )


def _memory() -> Examined:
    memory = psutil.virtual_memory()
    said = f"{memory.available / _GIB:.1f} of {memory.total / _GIB:.1f} GiB are free"
    return Examined("memory", "ok" if memory.available > _GIB else "warning", said)


def _disk(name: str, place: Path) -> Examined:
    there = next(parent for parent in (place.absolute(), *place.absolute().parents) if parent.exists())
    if not os.access(there, os.W_OK):
        return Examined(
            name, "problem", f"{there} cannot be written to: name another place, or ask for the right to it"
        )
    free = shutil.disk_usage(there).free
    said = f"{free / _GIB:.1f} GiB are free at {there}"
    if free < _LEAST_DISK:
        return Examined(name, "problem", f"{said}: make room, since models, tables and checkpoints need more")
    few = ": each trained solver takes the size of its weights there" if free < _ENOUGH_DISK else ""
    return Examined(name, "warning" if few else "ok", said + few)


def _ledger_place(ledger: Path) -> Examined:
    kind = file_system(ledger)
    if kind is None:
        return Examined("ledger", "unknown", f"{ledger}: the kind of its file system is unknown")
    if kind.startswith(NETWORK):
        return Examined(
            "ledger",
            "problem",
            f"{ledger} is on {kind}, where SQLite's locks are not safe: set `ledger` to a local disk, and carry it "
            "between machines by `eva-data ledger export` and `import`",
        )
    return Examined("ledger", "ok", f"{ledger} is on {kind}, a local file system")


def file_system(path: Path) -> str | None:
    """The kind of the file system that a path is on, such as `ext4`; None if this machine does not tell."""
    there = path.absolute()
    best: tuple[int, str] | None = None
    for part in psutil.disk_partitions(all=True):
        if there.is_relative_to(part.mountpoint) and (best is None or len(part.mountpoint) >= best[0]):
            best = len(part.mountpoint), part.fstype
    return None if best is None or not best[1] else best[1]


def _open_files(config: Config) -> Examined:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    asked = [block.max_in_flight for _, block in blocks_of(config) if isinstance(block, Endpoint)]
    most = max((each for each in asked if isinstance(each, int)), default=0)
    said = f"{limit} may be open at a time"
    if limit != resource.RLIM_INFINITY and limit < most + _SPARE_FILES:
        return Examined(
            "open files", "warning", f"{said}, and `max_in_flight` is {most}: raise the limit with `ulimit -n 65536`"
        )
    return Examined("open files", "ok", said)
