"""Whether the servers that the block `servers` asks for can be started."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

from eva_data.config.machines.launching import LocalServers, RayServers, SlurmServers
from eva_data.config.models import Serving
from eva_data.doctor.blocks import blocks_of
from eva_data.doctor.examined import Examined, tried
from eva_data.doctor.machine import NETWORK, file_system
from eva_data.errors import ModelError
from eva_data.iteration.run import Run
from eva_data.models.vllm.hosts import gpus_here

_SECONDS = 30


def look_at_launches(run: Run) -> Iterator[Examined]:
    """Findings about where servers are started; nothing is started."""
    launching = run.config.servers
    started = {
        key: block.tensor_parallel * block.data_parallel
        for key, block in blocks_of(run.config)
        if isinstance(block, Serving) and not block.urls
    }
    if launching is None:
        return
    if not started:
        yield Examined("servers", "warning", "no model is started here, so `servers` does nothing: leave it out")
        return
    most = max(started, key=lambda key: started[key])
    wanted = (launching.replicas or 1) * started[most]
    if isinstance(launching, LocalServers):
        if launching.replicas and launching.replicas > 1 and wanted > len(gpus_here()):
            yield Examined(
                "servers",
                "warning",
                f"{launching.replicas} servers of `{most}` take {wanted} GPUs, and there are {len(gpus_here())}, so "
                "servers share them: lower `servers.replicas`, or set it to null",
            )
        return
    if isinstance(launching, SlurmServers):
        yield tried("servers", lambda: _slurm(wanted, most))
    elif isinstance(launching, RayServers):
        yield tried("servers", lambda: _ray(launching, wanted, most))
    kind = file_system(run.config.folder)
    if kind is not None and not kind.startswith(NETWORK):
        yield Examined(
            "servers",
            "warning",
            f"{run.config.folder} is on {kind}, which other nodes may not see: put `folder` and the models on a file "
            "system that all nodes share, and `ledger` on a local disk",
        )


def _slurm(wanted: int, most: str) -> str:
    for program in ("sbatch", "squeue", "scancel", "sinfo"):
        if shutil.which(program) is None:
            raise ModelError(f"there is no `{program}` on this machine: run the command on a login node of the cluster")
    try:
        done = subprocess.run(["sinfo", "--noheader", "--format=%D"], capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise ModelError(
            f"`sinfo` gives no answer in {_SECONDS} seconds: the controller of Slurm may be down"
        ) from None
    if done.returncode:
        raise ModelError(f"`sinfo` fails: {' '.join(done.stderr.split())[:300]}")
    nodes = sum(int(line) for line in done.stdout.split() if line.isdecimal())
    return f"Slurm answers, with {nodes} nodes; the servers of `{most}` will ask for {wanted} GPUs"


def _ray(launching: RayServers, wanted: int, most: str) -> str:
    from eva_data.models.cluster.connecting import connected

    ray = connected(launching.address, "servers.address")
    try:
        gpus = int(ray.cluster_resources().get("GPU", 0))
    finally:
        ray.shutdown()
    if gpus and gpus < wanted:
        raise ModelError(
            f"the servers of `{most}` take {wanted} GPUs, and the Ray cluster has {gpus}: lower `servers.replicas`, or "
            "add nodes"
        )
    return f"the Ray cluster has {gpus} GPUs, and the servers of `{most}` take {wanted}"
