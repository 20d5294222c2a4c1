"""The block `servers`: where the vLLM servers of models without `base_url` are started, and how many."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator

from eva_data.config.base import Execution, Settings


class Replicas(Settings):
    """What all ways to start servers share. A replica is one vLLM server with the whole model."""

    replicas: int | None = Field(None, ge=1, json_schema_extra=Execution)
    """Servers of a model that run at the same time. Null starts one for each group of GPUs of this machine with
    `launch: local`, and one with `slurm` and `ray`. A group is as many GPUs as a server takes, `tensor_parallel` x
    `data_parallel`."""
    restarts: int = Field(3, ge=0, json_schema_extra=Execution)
    """How often in a row a server is started again after it failed. A server that ran for ten minutes counts anew. The
    command stops once no server of a model is left."""


class LocalServers(Replicas):
    """Servers on this machine, which listen on 127.0.0.1 alone."""

    launch: Literal["local"]
    """Child processes of the command."""


class SlurmServers(Replicas):
    """Each server is a Slurm job. The dataset's folder and the models are on a file system that all nodes share."""

    launch: Literal["slurm"]
    """Jobs by `sbatch`."""
    options: tuple[str, ...] = Field((), json_schema_extra=Execution)
    """Options of `sbatch`, such as `--partition=gpu` and `--time=12:00:00`. Unless they name GPUs, a job asks for as
    many as its server takes, by `--gres=gpu:N`."""
    lease_minutes: float = Field(5, gt=0, json_schema_extra=Execution)
    """Minutes after which a job ends by itself if the command that started it gives no more sign of life."""

    @field_validator("options")
    @classmethod
    def _ours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        taken = {
            "--array",
            "--output",
            "--error",
            "--parsable",
            "--wait",
            "--wrap",
            "--nodes",
            "--export",
            "--test-only",
        }
        taken |= {"-a", "-o", "-e", "-W", "-N"}
        for option in value:
            if not option.startswith("-") or option.partition("=")[0] in taken:
                raise ValueError(
                    f"`servers.options` holds `{option}`: write options of sbatch as `--name=value`, without "
                    f"{', '.join(sorted(taken))}, which eva-data sets itself"
                )
        return value


class RayServers(Replicas):
    """Each server is an actor on a Ray cluster that runs already. All nodes have eva-data and share a file system."""

    launch: Literal["ray"]
    """Actors."""
    address: str = Field("auto", json_schema_extra=Execution)
    """Address of the cluster: `auto` is the one that this machine is part of, else `host:port` of its head."""


Launching: TypeAlias = Annotated[LocalServers | SlurmServers | RayServers, Field(discriminator="launch")]
ONE_SERVER = LocalServers(launch="local", replicas=1)
"""What is started if there is no block `servers`."""
