"""A build whose pairs are sought among responses of similar length."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from eva_data.cli import main

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
