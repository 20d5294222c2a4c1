"""Connects this process to a Ray cluster that runs already."""

from __future__ import annotations

import socket
from typing import Any

from eva_data.errors import MissingExtraError, ModelError

ANSWER_SECONDS = 10.0
"""So long a cluster has time to answer."""


def connected(address: str, key: str) -> Any:
    """The module `ray`, connected to the cluster at the address. `key` is the address's place in the settings.

    Raise MissingExtraError without Ray, and ModelError if there is no cluster at the address.
    """
    try:
        import ray
    except ModuleNotFoundError:
        raise MissingExtraError.of("ray", "ray") from None
    if not ray.is_initialized():
        try:
            knock(address)
            ray.init(address=address, log_to_driver=False, logging_level="error", namespace="eva-data")
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"there is no Ray cluster at `{address}` ({' '.join(str(error).split())[:200]}): start one with "
                f"`ray start --head`, or name its address in `{key}`"
            ) from None
    return ray


def knock(address: str) -> None:
    """Raise OSError if nobody listens at `host:port`. Ray itself would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
