"""What all tests share: one set of random examples, one sandbox build, and the real data beside some checkouts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from once import made_once
from sandbox_runs import eva
from scripts import load_script

if TYPE_CHECKING:
    # These are imported only here, so that other tests run without them.
    from argilla_server import ArgillaServer
    from playwright.sync_api import Browser

settings.register_profile("same_every_time", derandomize=True, deadline=None)
settings.load_profile("same_every_time")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """`../shared/data` beside the checkout: real scored responses and prompts, which are not part of the project."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data in {folder}, which is no part of the project")
    return folder


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two iterations of the sandbox, built once for all tests. Copy the folder before you change it."""
    return made_once(tmp_path_factory, "built", _build) / "sandbox"


def _build(folder: Path) -> None:
    """Build two iterations, and keep the output beside them."""
    done = eva(folder / "sandbox", "build", "--iter", "2")
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)


@pytest.fixture(scope="session")
def preference() -> ModuleType:
    """The module `train/preference.py`."""
    return load_script("preference")


@pytest.fixture(scope="session")
def online() -> ModuleType:
    """The module `train/online.py`."""
    return load_script("online")


@pytest.fixture
def one_thread_and_a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For training in this process: the same weights every time, and no cached data of other tests."""
    import torch

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ArgillaServer]:
    """A real Argilla server for all tests. Each test uses a workspace of its own."""
    from argilla_server import ArgillaServer, missing

    _needs(missing())
    with ArgillaServer(tmp_path_factory.mktemp("argilla") / "server") as server:
        yield server
        assert server.elastic.unknown == []


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, for one module. While it is open, an asyncio loop runs in this thread."""
    import page

    _needs([] if page.chromium() else ["Chromium or Chrome (Debian: `apt-get install chromium`)"])
    with page.browser() as opened:
        yield opened


def _needs(absent: list[str]) -> None:
    """Skip a test if this machine lacks something, but fail if `.ci/run` has installed it."""
    if absent:
        (pytest.fail if "EVA_REQUIRE_ARGILLA" in os.environ else pytest.skip)(f"needs {' and '.join(absent)}")
