"""The file that tells jobs which servers there are now: each with its URL and the key of its own.

The process that starts servers writes it, and the jobs read it again and again. Only the user may read it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from eva_data.files import replacing
from eva_data.models.remote.endpoints import Pool

LOOK_SECONDS = 0.5


def write(path: Path, keys: Mapping[str, str]) -> None:
    """Write URL -> key of all servers, whole or not at all."""
    with replacing(path) as temporary:
        temporary.unlink(missing_ok=True)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w", encoding="utf-8") as opened:
            json.dump(dict(keys), opened)


def read(path: Path) -> dict[str, str]:
    """URL -> key of all servers; empty if there is no file, because no server runs."""
    try:
        found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


@asynccontextmanager
async def followed(path: Path, pool: Pool, use_keys: Callable[[Mapping[str, str]], None]) -> AsyncIterator[None]:
    """Keep the pool's servers and their keys as the file has them while the context lasts."""
    known: dict[str, str] = {}

    def look() -> None:
        nonlocal known
        found = read(path)
        if found != known:
            known = found
            use_keys(found)
            pool.change(list(found))

    async def keep_looking() -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            look()

    look()
    watch = asyncio.create_task(keep_looking())
    try:
        yield
    finally:
        watch.cancel()
