"""A build whose rejected responses are a weaker model's, verified, loaded and planned."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from sandbox_runs import SMALL, eva, tables

pytestmark = pytest.mark.slow

SETTINGS = (
    *SMALL,
    *("--set", "seeds.sandbox=10", "--set", "solver.responses=2"),
    *("--set", "contrast.model=sandbox-steps", "--set", "contrast.responses=3"),
    *("--set", "contrast.max_tokens=8", "--set", "contrast.threads=1"),
)
"""The contrast has so few tokens that it can hardly answer."""


def test_the_solver_is_chosen_and_the_weaker_model_rejected_from_plan_to_verify(tmp_path: Path) -> None:
    folder = tmp_path / "contrast"
    planned = eva(folder, "plan", "--iter", "1", "--json", settings=SETTINGS)
    assert planned.returncode == 0, planned.stderr
    lines = {line["stage"]: line["completions"] for line in json.loads(planned.stdout)["lines"]}
    assert (lines["respond"], lines["contrast"]) == (20, 30)
    built = eva(folder, "build", "--iter", "1", settings=SETTINGS)
    assert built.returncode == 0, built.stderr
    assert "more reward than those of `contrast`" in built.stdout
    found, manifest = tables(folder, 1), json.loads((folder / "manifests/iter_1.json").read_text())
    solver, weaker = (manifest["models"][role] for role in ("solver", "contrast"))
    assert solver.startswith("sandbox@") and weaker.startswith("sandbox-steps@")
    stages = found["responses"].group_by("stage", "solver").agg(pl.len(), pl.col("response_idx").unique().sort())
    assert stages.sort("stage").rows() == [
        ("contrast", weaker, 30, [2, 3, 4]),
        ("respond", solver, 20, [0, 1]),
    ]
    pairs = found["preferences"]
    assert pairs.height > 0
    assert pairs.select("chosen_model", "rejected_model", "on_policy").unique().rows() == [(solver, weaker, False)]
    rewards = found["responses"].select("prompt_id", "response_idx", "reward", text="response")
    for side, at_most in (("chosen", 1), ("rejected", 4)):
        there = pairs.join(rewards, left_on=["prompt_id", f"{side}_idx"], right_on=["prompt_id", "response_idx"])
        assert there["reward"].equals(there[f"score_{side}"]) and pairs[f"{side}_idx"].max() <= at_most  # type: ignore[operator]
        assert there["text"].to_list() == [turns[0]["content"] for turns in there[side]]
    # What a prompt can still teach is told by the solver's own responses.
    own = found["responses"].filter(pl.col("stage") == "respond").group_by("prompt_id").agg(pl.col("reward").max())
    measured = found["informativeness"].join(own, on="prompt_id")
    assert measured["reward_max"].equals(measured["reward"]) and measured["n_scored"].max() == 2
    assert "only those of a weaker model" in (folder / "README.md").read_text()
    assert eva(folder, "verify", "--iter", "1", settings=SETTINGS).returncode == 0
    other = eva(folder, "build", "--iter", "1", settings=(*SETTINGS, "--set", "contrast.temperature=0.1"))
    assert other.returncode == 1 and "`contrast.temperature` is 0.1, was 0.7" in other.stderr
