"""The build with which the builds of these tests are compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_vllm import answered
from once import made_once
from sandbox_runs import hashes
from vllm_builds import build, finished


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Hashes of the tables of a build that two servers answered, neither of which died."""

    def make(folder: Path) -> None:
        finished(folder / "project", build(folder / "project"))
        assert len({line["pid"] for line in answered(folder / "project")}) == 2

    project = made_once(tmp_path_factory, "undisturbed", make) / "project"
    return hashes(project / "data")
