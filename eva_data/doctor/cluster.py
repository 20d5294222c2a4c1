"""Whether the Ray cluster of the block `execution` is there, and holds what the settings ask of it."""

from __future__ import annotations

from collections.abc import Iterator

from eva_data.config.machines.computing import RayEngine
from eva_data.config.machines.launching import RayServers
from eva_data.config.models import Endpoint, Serving
from eva_data.doctor.blocks import blocks_of, device_of, gpus_of
from eva_data.doctor.examined import Examined, tried
from eva_data.errors import ModelError
from eva_data.iteration.run import Run


def look_at_cluster(run: Run) -> Iterator[Examined]:
    """Findings about where models compute that are not behind a server; no actor is started."""
    engine = run.config.execution
    if not isinstance(engine, RayEngine):
        return
    computed = {
        key: block for key, block in blocks_of(run.config) if device_of(block) and not isinstance(block, Endpoint)
    }
    if not computed:
        yield Examined(
            "execution", "warning", "every model is behind a server, so `execution` does nothing: leave it out"
        )
        return
    on_gpu = next((key for key, block in computed.items() if gpus_of(block)), None)
    servers = run.config.servers
    held = 0
    if isinstance(servers, RayServers):
        groups = [gpus_of(block) for _, block in blocks_of(run.config) if isinstance(block, Serving) and not block.urls]
        held = (servers.replicas or 1) * max(groups, default=0)
    yield tried("execution", lambda: _ray(engine, on_gpu, held))


def _ray(engine: RayEngine, on_gpu: str | None, held: int) -> str:
    """`on_gpu` is a block whose model wants a GPU, and `held` the number of GPUs that servers hold on the cluster."""
    from eva_data.models.cluster.connecting import connected

    ray = connected(engine.address, "execution.address")
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    finally:
        ray.shutdown()
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    if on_gpu is None:
        places = sum(int(node.get("CPU", 0)) for node in nodes)
        wanted, kind = engine.actors or len(nodes), "processors"
    else:
        places, wanted, kind = gpus, engine.actors or gpus, "GPUs"
        if not gpus:
            raise ModelError(
                f"`{on_gpu}` wants a GPU, and the Ray cluster has none: add nodes with GPUs, or set `device: cpu`"
            )
        if held and held >= gpus:
            raise ModelError(
                f"the servers of `servers` hold all {gpus} GPUs of the Ray cluster, so no actor of `{on_gpu}` finds "
                "one: lower `servers.replicas`, or add nodes"
            )
    if wanted > places:
        raise ModelError(
            f"{wanted} actors take as many {kind}, and the Ray cluster has {places}: lower `execution.actors`, or add "
            "nodes"
        )
    return f"{len(nodes)} nodes of the Ray cluster, with {gpus} GPUs, take {wanted} actors"
