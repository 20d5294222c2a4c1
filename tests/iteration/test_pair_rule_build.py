"""Builds whose pairs follow other rules: of similar length, several of a prompt, by rewards adjusted for length."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from datasets import load_dataset

from eva_data.cli import main
from eva_data.dataset.store import Store

SCORED = [
    ("Name a river.", "The Nile.", 0.1),
    ("Name a river.", "The river Rhine, which flows through Basel and Cologne to the sea.", 0.9),
    ("Name a river.", "The Rhine.", 0.6),
    ("Name a lake.", "Victoria.", 0.1),
    ("Name a lake.", "Lake Constance, which lies between three countries in the middle of Europe.", 0.9),
]


@pytest.mark.slow
def test_the_best_pair_of_similar_length_is_built_and_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [dict(zip(("prompt", "response", "reward"), row, strict=True)) for row in SCORED]
    Path("scored.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    settings = {"name": "acme/lengths", "solver": {"backend": "table", "path": "scored.jsonl"}}
    Path("eva.yaml").write_text(json.dumps(settings | {"pair": {"max_length_gap": 0.2}}), encoding="utf-8")
    built = CliRunner().invoke(main, ["build", "--iter", "1"])
    assert built.exit_code == 0, built.output
    pairs = pl.read_parquet("data/lengths/preferences/iter_1.parquet")
    assert pairs.select("score_chosen", "score_rejected").rows() == [(0.6, 0.1)]
    rejects = pl.read_parquet("data/lengths/rejects/iter_1.parquet")
    assert rejects.select("reason", "text").rows() == [("length_gap", "Name a lake.")]
    verified = CliRunner().invoke(main, ["verify", "--iter", "1"])
    assert verified.exit_code == 0, verified.output
    other = CliRunner().invoke(main, ["build", "--iter", "1", "--set", "pair.max_length_gap=0.9"])
    assert other.exit_code == 1
    assert "`pair.max_length_gap` is 0.9, was 0.2" in other.output


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of ten prompts with up to two pairs each, whose rewards are adjusted for length."""
    folder = tmp_path_factory.mktemp("ranked")
    rows = []
    for number in range(10):
        # The reward is 2 ln(characters), and one more or less for what is said.
        sign = 1.0 if number % 2 else -1.0
        for words, more in ((1, sign), (2, -sign), (4, sign), (8, -sign)):
            text = f"{number} said " + "so " * words + ("well." if more > 0 else "bad..")
            rows.append((f"Say it {number}.", text, 2 * math.log(len(text)) + more))
    # Two responses that barely differ.
    rows += [("Twins.", "This is a sentence of many words.", 1.0), ("Twins.", "This is a sentence of many worms.", 0.0)]
    lines = (json.dumps(dict(zip(("prompt", "response", "reward"), row, strict=True))) for row in rows)
    (folder / "scored.jsonl").write_text("\n".join(lines), encoding="utf-8")
    settings = {
        "name": "acme/ranked",
        "folder": str(folder / "data"),
        "solver": {"backend": "table", "path": str(folder / "scored.jsonl")},
        "estimate": {"adjust_length": True},
        "pair": {"rule": "ranked", "per_prompt": 2, "max_similarity": 0.9},
    }
    (folder / "eva.yaml").write_text(json.dumps(settings), encoding="utf-8")
    built = CliRunner().invoke(main, ["build", "--iter", "1", "--config", str(folder / "eva.yaml")])
    assert built.exit_code == 0, built.output
    assert "the chosen response is the longer one in" in built.output
    return folder


@pytest.mark.slow
def test_rewards_are_adjusted_before_several_pairs_of_a_prompt_are_made(ranked: Path) -> None:
    data = ranked / "data"
    pairs = load_dataset(str(data), "preferences", split="iter_1", cache_dir=str(ranked / "cache")).to_polars()
    assert pairs.height == 20 and pairs["pair_id"].is_unique().all()
    said = (
        pl.col("chosen").list.first().struct.field("content").str.ends_with("well."),
        pl.col("rejected").list.first().struct.field("content").str.ends_with("bad.."),
    )
    assert pairs.select(pl.all_horizontal(*said).all()).item()
    # What length gives is taken off, and what is said is worth 2.
    assert (pairs["score_chosen"] - pairs["score_rejected"]).to_list() == pytest.approx([2.0] * 20)
    given = pl.read_parquet(data / "responses/iter_1.parquet")
    assert given["reward"].sort().to_list() == sorted(
        json.loads(line)["reward"] for line in (ranked / "scored.jsonl").read_text().splitlines()
    )
    rejects = pl.read_parquet(data / "rejects/iter_1.parquet")
    assert rejects.select("stage", "reason", "text").rows() == [("pair", "near_identical", "Twins.")]
    lengths = json.loads((data / "manifests/iter_1.json").read_text())["lengths"]["respond"]
    assert (lengths["unit"], lengths["prompts"]) == ("characters", 10)
    assert lengths["before"]["longer"] > lengths["after"]["longer"]
    assert "**Length taken off.** In iteration 1" in (data / "README.md").read_text()


@pytest.mark.slow
def test_verify_fits_the_lengths_again(ranked: Path, tmp_path: Path) -> None:
    config = str(ranked / "eva.yaml")
    verified = CliRunner().invoke(main, ["verify", "--iter", "1", "--config", config])
    assert verified.exit_code == 0, verified.output
    path = ranked / "data/manifests/iter_1.json"
    whole = path.read_text(encoding="utf-8")
    try:
        manifest = json.loads(whole)
        manifest["lengths"]["respond"]["coefficients"][0] += 0.5
        manifest["lengths"]["respond"]["after"]["longer"] += 1
        path.write_text(json.dumps(manifest), encoding="utf-8")
        found = CliRunner().invoke(main, ["verify", "--iter", "1", "--config", config])
    finally:
        path.write_text(whole, encoding="utf-8")
    assert found.exit_code == 1
    assert "`lengths.respond.coefficients` is" in found.output and "`lengths.respond.after` is" in found.output


@pytest.mark.slow
def test_several_pairs_of_a_prompt_are_reviewed_in_label_studio(ranked: Path, tmp_path: Path) -> None:
    shutil.copytree(ranked, tmp_path / "copy")
    data, config = (
        tmp_path / "copy/data",
        ["--config", str(tmp_path / "copy/eva.yaml"), "--set", f"folder={tmp_path}/copy/data"],
    )
    tasks, exported = tmp_path / "tasks.json", tmp_path / "export.json"
    written = CliRunner().invoke(
        main, ["review", "export", "--iter", "1", "--output", str(tasks), "--limit", "100", *config]
    )
    assert written.exit_code == 0, written.output
    said = {"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["first"]}}
    answer = {"completed_by": 1, "result": [said], "updated_at": "2026-01-02T03:04:05.000006Z"}
    given = json.loads(tasks.read_text())
    exported.write_text(json.dumps([task | {"annotations": [answer]} for task in given]))
    before = pl.read_parquet(data / "preferences/iter_1.parquet")
    assert sorted(task["data"]["pair_id"] for task in given) == before["pair_id"].sort().to_list()
    pulled = CliRunner().invoke(main, ["review", "pull", "--iter", "1", "--label-studio", str(exported), *config])
    assert pulled.exit_code == 0, pulled.output
    # The reviewer always liked the first response, whichever that was: each pair got the verdict on its own texts.
    first = {task["data"]["pair_id"]: task["data"]["first"] for task in given}
    pairs = Store(data).scan("preferences", 1).collect()
    chosen = dict(pairs.select("pair_id", pl.col("chosen").list.last().struct.field("content")).iter_rows())
    assert pairs.height == 20 and chosen == first
    verified = CliRunner().invoke(main, ["verify", "--iter", "1", *config])
    assert verified.exit_code == 0, verified.output
