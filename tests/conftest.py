"""What all tests share: one set of random examples, one sandbox build, and the real data that lies beside some
checkouts."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from sandbox import eva

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
