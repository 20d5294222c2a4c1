"""The Hub on a bad day: what is refused for now is one sentence, and a repeat completes it; a repo may have moved."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import WRITE, Hub, Refused, Reply, Repo, _Handler
from reviewing import NAMED, store_of_pairs

pytestmark = pytest.mark.slow

OLD, NEW = "alice/old", "alice/new"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return store_of_pairs(tmp_path / "small", 3).folder


def publish(hub: Hub, folder: Path) -> subprocess.CompletedProcess[str]:
    where = ("--repo", OLD, *NAMED, "--set", f"folder={folder}")
    return hub.run(folder.parent, "publish", "--iter", "1", *where, token=WRITE)


@pytest.mark.parametrize("status", [429, 504])
def test_what_is_refused_for_now_is_completed_by_a_repeat(hub: Hub, folder: Path, status: int) -> None:
    hub.fail(f"POST /api/datasets/{OLD}/commit", status)
    for _ in range(3):
        done = publish(hub, folder)
        assert "Traceback" not in done.stderr
        if done.returncode == 0:
            break
        assert done.stderr.strip().splitlines()[-1].startswith("Error: ")
    assert done.returncode == 0, done.stderr
    assert list(hub.repos[OLD].tags) == ["iter-1"]


def test_a_renamed_repo_gets_the_commit_and_the_tag(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.repos[NEW] = Repo(private=True)
    hub.repos[NEW].add({".gitattributes": b"*.parquet filter=lfs\n"}, "initial commit")
    route = _Handler._route

    def moved(self: Any, parts: Any) -> Any:
        if f"/{OLD}" in self.path:
            return Reply(307, {"Location": self.hub.url + self.path.replace(f"/{OLD}", f"/{NEW}")})
        if parts[:3] == ["api", "repos", "create"] and json.loads(self.body)["name"] == "old":
            raise Refused(409, "You already created this dataset repo")
        return route(self, parts)

    monkeypatch.setattr(_Handler, "_route", moved)
    done = publish(hub, folder)
    assert done.returncode == 0, done.stderr
    assert OLD not in hub.repos
    assert list(hub.repos[NEW].tags) == ["iter-1"]
