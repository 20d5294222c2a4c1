"""The block `execution`: where the models compute that are not behind a server."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from eva_data.config.base import Execution, Settings


class LocalEngine(Settings):
    """Models that transformers runs, of players and of rewards, are in the memory of this machine."""

    engine: Literal["local"] = "local"
    """The job computes in its own process."""


class RayEngine(Settings):
    """The same models are in the memory of several actors of a Ray cluster that runs already.

    All nodes have eva-data and share a file system with this machine.
    """

    engine: Literal["ray"]
    """The job gives batches to actors. It stays on this machine, and so do the ledger and all keys."""
    address: str = Field("auto", json_schema_extra=Execution)
    """Address of the cluster: `auto` is the one that this machine is part of, else `host:port` of its head."""
    actors: int | None = Field(None, ge=1, json_schema_extra=Execution)
    """Actors that hold a model at the same time. Null means one for each GPU of the cluster; for models on the CPU, one
    for each node."""


Engine: TypeAlias = Annotated[LocalEngine | RayEngine, Field(discriminator="engine")]
