"""Evaluations on the Hub: published beside the iterations, tagged, pulled, loaded and verified."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from evaluated_store import evaluated
from hub_server import WRITE, Hub
from reviewing import NAMED, store_of_pairs

from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.store import Store

REPO = "alice/game"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with Hub(tmp_path / "hub") as running:
        yield running


@pytest.mark.slow
def test_evaluations_are_published_pulled_and_verified(hub: Hub, tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    evaluated(store, 0, 1.0, 0.0, 0.5)

    def publish(*more: str) -> str:
        where = ("--repo", REPO, *NAMED, "--set", f"folder={store.folder}")
        done = hub.run(tmp_path, "publish", "--iter", "1", *where, *more, token=WRITE)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "Would publish evaluations to alice/game (private), tagged evaluations-1" in publish("--dry-run")
    assert "Published evaluations to alice/game (private), tagged evaluations-1" in publish()
    repo = hub.repos[REPO]
    assert list(repo.tags) == ["iter-1", "evaluations-1"]
    assert "evaluations" not in publish()
    assert list(repo.tags) == ["iter-1", "evaluations-1"]
    evaluated(store, 1, 1.0, 1.0, 0.5)
    assert "tagged evaluations-2" in publish()
    assert list(repo.tags) == ["iter-1", "evaluations-1", "evaluations-2"]
    files = repo.commits[-1].files
    assert {name for name in files if "evaluations" in name} == {
        "evaluations/theta_0.parquet",
        "evaluations/theta_1.parquet",
        "manifests/evaluations.json",
        "plots/evaluations.png",
    }
    card = files["README.md"].decode()
    assert "config_name: evaluations" in card and "| `puzzles` | `verifier` | `theta_1` |" in card

    home = tmp_path / "home"
    home.mkdir()
    pulled = hub.run(home, "pull", REPO)
    assert pulled.returncode == 0, pulled.stdout + pulled.stderr
    here = Store(home / "data" / "game")
    assert read_record(here) == read_record(store)
    assert read_rows(here).equals(read_rows(store))
    loaded = hub.python(home, "-c", LOAD, REPO)
    assert loaded.stdout.split() == ["3", "1.0"], loaded.stderr
    verified = hub.run(home, "verify", REPO, "--iter", "1", "--revision", "evaluations-2")
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.slow
def test_comparisons_that_only_the_repo_has_are_not_lost(hub: Hub, tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    evaluated(store, 0, 1.0, 0.0)
    where = ("--repo", REPO, *NAMED, "--set", f"folder={store.folder}")
    assert hub.run(tmp_path, "publish", "--iter", "1", *where, token=WRITE).returncode == 0
    (store.folder / "manifests" / "evaluations.json").unlink()
    evaluated(store, 1, 1.0, 1.0)
    done = hub.run(tmp_path, "publish", "--iter", "1", *where, token=WRITE)
    assert done.returncode == 1
    assert "alice/game holds 1 comparisons that are not here, such as theta_0 on puzzles" in done.stderr


@pytest.mark.slow
def test_texts_of_evaluations_are_looked_through_before_they_are_sent(hub: Hub, tmp_path: Path) -> None:
    store = store_of_pairs(tmp_path / "small", 3)
    evaluated(store, 0, 1.0, 0.0, text="Write to ann.lee@acme-mail.org about it.")
    where = ("--repo", REPO, *NAMED, "--set", f"folder={store.folder}")
    done = hub.run(tmp_path, "publish", "--iter", "1", *where, token=WRITE)
    assert done.returncode == 1 and REPO not in hub.repos
    assert "evaluations hold 1 e-mail address" in done.stderr


LOAD = """
import sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], "evaluations", split="theta_1")
print(len(rows), rows[0]["score"])
"""
