"""An offline dataset of siblings from its build to a pulled copy, by the real command line and a local Hub."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hub_server import WRITE, Hub
from sandbox_runs import SMALL, eva, hashes

from eva_data.dataset.store import Store

REPO = "alice/siblings"
SIBLINGS = (*SMALL, "--set", "evolve.shape=siblings", "--set", "train.heldout=0")


@pytest.mark.slow
def test_siblings_are_built_verified_published_and_pulled(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    built = eva(folder, "build", "--iter", "2", settings=SIBLINGS)
    assert built.returncode == 0, built.stderr
    evolutions = pl.read_parquet(folder / "evolutions" / "iter_2.parquet")
    # All rewrites of a drawn prompt start from it, and none from another rewrite.
    assert evolutions.select((pl.col("parent_id") == pl.col("chain_id")).all()).item()
    assert evolutions.group_by("chain_id").len()["len"].max() == 4
    assert Store(folder).scan("prompts", 2).select(pl.col("depth").max()).collect().item() <= 1 + int(
        Store(folder).scan("prompts", 1).select(pl.col("depth").max()).collect().item()
    )
    verified = eva(folder, "verify", "--iter", "2", settings=SIBLINGS)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    with Hub(tmp_path / "hub") as hub:
        for iteration in ("1", "2"):
            where = ("--repo", REPO, "--set", f"folder={folder}")
            done = hub.run(tmp_path, "publish", "--iter", iteration, *where, token=WRITE)
            assert done.returncode == 0, done.stdout + done.stderr
        home = tmp_path / "home"
        home.mkdir()
        pulled = hub.run(home, "pull", REPO, "--revision", "iter-2", token=WRITE)
        assert pulled.returncode == 0, pulled.stdout + pulled.stderr
        assert hashes(home / "data" / "siblings") == hashes(folder)
        again = hub.run(home, "verify", REPO, "--iter", "2", "--revision", "iter-2", token=WRITE)
        assert again.returncode == 0, again.stdout + again.stderr
