"""Makes something slow once per run, even if several processes of pytest-xdist share the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A copy, for this process alone, of the folder `name`, which `make` fills.

    The first process that asks makes the folder, and the others wait for it. A failure is told to all of them, so that
    none tries again. Each process gets a copy, because reading may write files too: SQLite leaves files beside a ledger
    that it opens.
    """
    shared = _of_the_run(factory) / "made-once"
    shared.mkdir(exist_ok=True)
    made, failure = shared / name, shared / f"{name}.failure"
    with FileLock(shared / f"{name}.lock"):
        if failure.exists():
            pytest.fail(f"{name} could not be made, as another process found:\n{failure.read_text()}")
        if not made.exists():
            unfinished = shared / f"{name}.unfinished"
            unfinished.mkdir()
            try:
                make(unfinished)
            except BaseException as error:
                failure.write_text(f"{type(error).__name__}: {error}")
                raise
            unfinished.rename(made)
    return Path(shutil.copytree(made, factory.mktemp(name) / name))


def _of_the_run(factory: pytest.TempPathFactory) -> Path:
    """The base folder of all processes of a run. With xdist, each process has its own folder below it."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
