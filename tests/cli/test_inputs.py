"""A missing or unreadable file is found by plan, dry run and build before any model is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

SOLVER = {"backend": "api", "model": "m", "base_url": "http://127.0.0.1:9/v1", "responses": 2}
REWARD = {"backend": "verifier", "function": "eva_data.rewards.answers:final_number"}


def said(folder: Path, *arguments: str, **blocks: object) -> tuple[int, str, str]:
    """Status, output and errors of eva-data with these settings. No server answers at the solver's address."""
    settings = {"name": "acme/inputs", "folder": "out", "solver": SOLVER, "reward": REWARD} | blocks
    (folder / "eva.yaml").write_text(yaml.safe_dump(settings))
    done = subprocess.run(
        [sys.executable, "-m", "eva_data.cli", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


COMMANDS = [("build", "--iter", "2"), ("build", "--iter", "1", "--dry-run"), ("plan", "--iter", "2")]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ({"path": "gone.jsonl"}, "`seeds.path` is gone.jsonl, and there is no such file: correct the path"),
        ({"path": "here.csv"}, "`seeds.column` is `prompt`, but here.csv has the columns text: name one of them"),
    ],
)
def test_seeds_that_cannot_be_read_are_said_first(
    tmp_path: Path, command: tuple[str, ...], seeds: dict[str, str], sentence: str
) -> None:
    (tmp_path / "here.csv").write_text("text\nhello\n")
    status, _, errors = said(tmp_path, *command, seeds=seeds)
    assert (status, errors) == (1, f"Error: {sentence}\n")
    assert not (tmp_path / "out" / ".eva" / "ledger.sqlite").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", [("build", "--iter", "2"), ("plan", "--iter", "2")], ids=" ".join)
def test_a_missing_benchmark_is_said_before_anything_is_paid_for(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "seeds.txt").write_text("Name three rivers of Europe.\n")
    evolve = {"benchmarks": [{"name": "quiz", "path": "quiz.jsonl"}]}
    status, _, errors = said(tmp_path, *command, seeds={"path": "seeds.txt"}, evolve=evolve)
    assert (status, errors) == (
        1,
        "Error: `evolve.benchmarks[quiz].path` is quiz.jsonl, and there is no such file: correct the path\n",
    )


@pytest.mark.slow
def test_what_was_recognised_is_said_in_one_line_and_kept_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_text(
        '{"instruction": "A colour?", "completions": [{"response": "Red", "overall_score": 8}, '
        '{"response": "Blue", "overall_score": 2.5}]}\n'
    )
    table = {"backend": "table", "path": "r.jsonl"}
    status, _, errors = said(tmp_path, "build", "--iter", "1", solver=table, reward=None)
    assert status == 0, errors
    manifest = yaml.safe_load((tmp_path / "out" / "manifests" / "iter_1.json").read_text())
    assert manifest["notes"] == [
        "one row per prompt: the responses `completions[].response` with the rewards `completions[].overall_score`",
        "the prompts are in the column `instruction`",
    ]
    assert manifest["models"]["reward"] == "table:completions[].overall_score"
    assert manifest["counts"]["pairs"] == 1
    verified, output, errors = said(tmp_path, "verify", "--iter", "1", solver=table, reward=None)
    assert verified == 0, output + errors
