"""A pull that is killed and repeated ends like an undisturbed pull, at any point of the kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub
from published import publish, pulled_iterations, small_dataset
from sandbox_runs import error_of

REPO = "alice/game"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as hub:
        publish(hub, REPO, small_dataset(tmp_path / "made"))
        yield hub


def contents(home: Path) -> dict[str, bytes]:
    """All files that a pull leaves, without the empty lock."""
    files = [path for path in home.rglob("*") if path.is_file() and path.name not in ("lock", "checked.json")]
    return {str(path.relative_to(home)): path.read_bytes() for path in files}


def start(hub: Hub, home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "eva_data.cli", "pull", REPO],
        cwd=home,
        env=os.environ | hub.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def killed_at(hub: Hub, home: Path, call: str) -> None:
    """Kill a pull while it waits for the Hub to answer a call."""
    running: list[subprocess.Popen[bytes]] = []
    hub.fail(call, lambda: running[0].send_signal(signal.SIGKILL))
    running.append(start(hub, home))
    assert running[0].wait(120) == -signal.SIGKILL


def killed_once_there(hub: Hub, home: Path, name: str) -> None:
    """Kill a pull as soon as one of its files is in its place."""
    process, path, deadline = start(hub, home), home / name, time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.0005)
    process.kill()
    process.wait()
    assert path.exists()


@pytest.mark.slow
def test_a_pull_that_is_killed_again_and_again_ends_as_an_undisturbed_one(hub: Hub, tmp_path: Path) -> None:
    undisturbed, home = tmp_path / "undisturbed", tmp_path / "home"
    undisturbed.mkdir()
    home.mkdir()
    assert start(hub, undisturbed).wait(120) == 0
    expected = contents(undisturbed)
    assert {"eva.yaml", "data/game/README.md", "data/game/manifests/iter_2.json"} <= expected.keys()

    killed_at(hub, home, "GET /datasets/alice/game/resolve/")
    assert contents(home).keys() == set() or not (home / "eva.yaml").exists()
    killed_at(hub, home, "GET /lfs/")
    assert pulled_iterations(home / "data" / "game") == []
    assert "a pull into data/game is not finished" in error_of(hub.run(home, "build", "--iter", "2"))
    for name in ("eva.yaml", "data/game/manifests/iter_1.json", "data/game/manifests/iter_2.json"):
        killed_once_there(hub, home, name)
    assert start(hub, home).wait(120) == 0
    assert contents(home) == expected
