"""`build --retry-rejects`: what a server gave up on is asked again, and nothing else is."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from odd_server import Answer, Asked, OddServer, said
from sandbox_runs import eva

from eva_data.dataset.store import Store

pytestmark = pytest.mark.slow

SEEDS = [f"Name river number {number}." for number in range(6)]
BROKEN = {SEEDS[1], SEEDS[4]}
SCORES = "def score(prompt, response):\n    return float(len(response) + int(response[-1]))\n"


def project(place: Path, url: str) -> tuple[str, ...]:
    (place / "seeds.txt").write_text("\n".join(SEEDS))
    (place / "scores.py").write_text(SCORES)
    (place / "eva.yaml").write_text(
        f"name: acme/rivers\nfolder: {place}/data\nseeds: {{path: seeds.txt}}\n"
        f"solver: {{backend: api, model: tiny, base_url: '{url}', responses: 3, canary: false}}\n"
        "reward: {backend: verifier, function: 'scores.py:score'}\nevolve: {near_duplicate: null}\n"
    )
    return ("--config", str(place / "eva.yaml"))


def test_what_was_given_up_becomes_a_revision_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    works = False

    def answer(asked: Asked) -> Answer:
        if asked.prompt in BROKEN and not works:
            return 500, {"error": {"message": "overloaded"}}
        return said(asked)

    store = Store(tmp_path / "data")
    with OddServer(answer) as server:
        config = project(tmp_path, server.url)
        early = eva(store.folder, "build", "--iter", "1", "--retry-rejects", settings=config)
        assert early.returncode == 1
        assert "iteration 1 is not built: `eva-data build --iter 1` makes it" in early.stderr
        built = eva(store.folder, "build", "--iter", "1", settings=config)
        assert built.returncode == 0, built.stderr
        rejects = store.scan("rejects", 1).collect()
        assert set(rejects.filter(pl.col("reason").str.contains("gave_up"))["prompt_id"]).__len__() == 2
        assert store.manifest(1).counts.pairs == 4
        works = True
        before = len(server.asked)
        again = eva(store.folder, "build", "--iter", "1", "--retry-rejects", settings=config)
        assert again.returncode == 0, again.stderr
        assert {asked.prompt for asked in server.asked[before:]} == BROKEN
        count = len(server.asked)
        nothing = eva(store.folder, "build", "--iter", "1", "--retry-rejects", settings=config)
        assert "has no row that a server gave up on: nothing was asked again" in nothing.stdout
        assert len(server.asked) == count
    revised = store.manifest(1)
    assert revised.revision == 1 and revised.review is None and revised.retried is not None
    assert (revised.retried.before, revised.retried.left, revised.counts.pairs) == (0, 0, 6)
    assert "Made revision iter-1.r1: of " in again.stdout and "+2 preferences" in again.stdout
    # The prompts are the same file, and the first build is as it was.
    assert revised.files.keys() >= {"prompts/iter_1.parquet", "preferences/iter_1.r1.parquet"}
    assert store.at(1, 0).manifest(1).counts.pairs == 4 and store.built(1) == 1
    kept = store.at(1, 0).scan("preferences", 1).collect()
    assert store.scan("preferences", 1).collect().join(kept, on="pair_id", how="semi").equals(kept)
    verified = eva(store.folder, "verify", "--iter", "1", settings=config)
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "r1, 0 of " in eva(store.folder, "status", settings=config).stdout
    readme = (store.folder / "README.md").read_text()
    assert "iteration 1 is at revision 1, in which" in readme
    assert "preferences/iter_1.r1.parquet" in readme and "prompts/iter_1.parquet" in readme
