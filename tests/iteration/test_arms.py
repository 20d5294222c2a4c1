"""The baselines of the paper's tables: X_t that is not evolved, and stages that are left out with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from sandbox_runs import SMALL, eva, tables

from eva_data.dataset.store import Store

pytestmark = pytest.mark.slow


@pytest.fixture
def first(built: Path, tmp_path: Path) -> Path:
    """Iteration 1 with theta_1, without iteration 2."""
    folder = Path(shutil.copytree(built, tmp_path / "sandbox"))
    for file in [*folder.glob("*/iter_2*"), folder / "manifests" / "iter_2.json"]:
        file.unlink(missing_ok=True)
    return folder


def test_the_drawn_prompts_alone_are_trained_on_and_asked_once(first: Path) -> None:
    settings = (*SMALL, "--set", "mix.source=sampled", "--set", "sample.weights=inverted", "--set", "sample.power=2")
    done = eva(first, "build", "--iter", "2", settings=settings)
    assert done.returncode == 0, done.stderr
    found, manifest = tables(first, 2), Store(first).manifest(2)
    drawn = found["informativeness"].filter("selected")["prompt_id"]
    assert found["prompts"]["prompt_id"].to_list() == sorted(drawn)
    assert len(drawn) == 6, "a quarter of 24"
    answered = found["responses"].filter(pl.col("stage") == "respond")
    assert answered["reused"].all()
    assert set(answered["prompt_id"]) == set(drawn)
    assert found["evolutions"].is_empty()
    assert manifest.evolving is not None
    assert manifest.evolving.taken == 6
    assert "X_2 holds the 6 drawn prompts and 0 others of X_1" in manifest.notes
    checked = eva(first, "verify", "--iter", "2")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_where_nothing_is_drawn_nothing_is_estimated(first: Path) -> None:
    done = eva(first, "build", "--iter", "2", settings=(*SMALL, "--set", "mix.evolved=0"))
    assert done.returncode == 0, done.stderr
    found = tables(first, 2)
    assert found["prompts"].equals(
        tables(first, 1)["prompts"].with_columns(mix_role=pl.lit("carried"), iteration=pl.lit(2, pl.Int32))
    )
    for name in ("informativeness", "responses"):
        assert set(found[name]["stage"]) == {"respond"}
    assert {flow.stage for flow in Store(first).manifest(2).flow} >= {"respond", "pair"}
    checked = eva(first, "verify", "--iter", "2")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    shown = eva(first, "report")
    assert shown.returncode == 0, shown.stderr
