"""What all tests share: one set of random examples, one sandbox build, and the real data that lies beside some
checkouts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import page
import pytest
from argilla_server import ArgillaServer, missing
from hypothesis import settings
from playwright.sync_api import Browser
from sandbox_runs import eva
from scripts import load_script

settings.register_profile("same_every_time", derandomize=True, deadline=None)
settings.load_profile("same_every_time")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`../shared/data` beside the checkout: real scored responses and prompts, no part of the project."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}, which is no part of the project")
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two iterations of the sandbox, built once for all tests; copy before you change it."""
    folder = tmp_path_factory.mktemp("built") / "sandbox"
    done = eva(folder, "build", "--iter", "2")
    assert done.returncode == 0, done.stderr
    (folder.parent / "stdout").write_text(done.stdout)
    (folder.parent / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture(scope="session")
def preference() -> ModuleType:
    """`train/preference.py`."""
    return load_script("preference")


@pytest.fixture(scope="session")
def online() -> ModuleType:
    """`train/online.py`."""
    return load_script("online")


@pytest.fixture
def one_thread_and_a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For training in this process: the same weights every time, and data that no other test has left."""
    import torch

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgillaServer]:
    """A real Argilla server for all tests, each of which keeps to a workspace of its own."""
    _needs(missing())
    with ArgillaServer(tmp_path_factory.mktemp("argilla") / "server") as server:
        yield server
        assert server.elastic.unknown == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for one module: while it is open asyncio has a loop running in this thread."""
    _needs([] if page.chromium() else ["Chromium or Chrome (Debian: `apt-get install chromium`)"])
    with page.browser() as opened:
        yield opened


def _needs(absent: list[str]) -> None:
    """Skip a test for what this machine has not, but not where `.ci/run` has installed it."""
    if absent:
        (pytest.fail if "EVA_REQUIRE_ARGILLA" in os.environ else pytest.skip)(f"needs {' and '.join(absent)}")
