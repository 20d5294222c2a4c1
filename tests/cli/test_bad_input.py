"""A fault of a user's machine ends in one sentence and status 1. Work that can go on goes on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from sandbox_runs import SMALL, command, eva, hashes, tables

from eva_data.models.resolve import SANDBOX_MODEL
from eva_data.sandbox.world import seed_prompts

pytestmark = pytest.mark.slow

ODD_VERIFIER = """
def score(prompt, response):
    if "backwards" in prompt:
        return float("nan")
    if "capital" in prompt:
        raise ZeroDivisionError("no such verdict")
    if "first" in prompt:
        return None
    return float(sum(map(ord, response)) % 97)
"""


def run_eva(folder: Path, *arguments: str, settings: tuple[str, ...], **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        command(folder, *arguments, settings=settings),
        cwd=folder.parent,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


def with_seeds(path: Path, *more: str) -> tuple[str, ...]:
    return (*SMALL, "--set", "seeds.sandbox=null", "--set", f"seeds.path={path}", *more)


def test_odd_prompts_and_an_odd_verifier_end_in_rejects_and_the_build_goes_on(tmp_path: Path) -> None:
    (tmp_path / "odd_verifier.py").write_text(ODD_VERIFIER)
    plain = [[{"role": "user", "content": text}] for text in seed_prompts(40, seed=5)]
    long = [{"role": "user", "content": "x" * 100_000}]
    system = [{"role": "system", "content": "Be brief."}, plain[0][0]]
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text("\n".join(json.dumps({"prompt": prompt}) for prompt in [*plain, long, system]))
    settings = with_seeds(
        seeds, "--set", "reward.function=odd_verifier:score", "--set", "train.heldout=0", "--set", "solver.responses=6"
    )
    status, errors = run_eva(tmp_path / "data", "build", "--iter", "1", settings=settings, PYTHONPATH=str(tmp_path))
    assert status == 0, errors
    found = tables(tmp_path / "data", 1)
    assert found["prompts"].height == 42
    reasons = found["rejects"].with_columns(pl.col("reason").str.split(":").list.first())
    at = {stage: set(reasons.filter(pl.col("stage") == stage)["reason"]) for stage in ("respond", "reward", "pair")}
    assert at["respond"] == {"prompt_too_long", "chat_template_refuses"}
    assert at["reward"] == {"not_finite", "verifier_raised", "unverifiable"}
    assert "no_scored_response" in at["pair"]
    raised = found["rejects"].filter(pl.col("reason").str.starts_with("verifier_raised"))["reason"].unique()
    assert raised.to_list() == ["verifier_raised: ZeroDivisionError: no such verdict"]
    assert found["preferences"].height > 0
    assert found["preferences"].height + found["rejects"].filter(pl.col("stage") == "pair").height == 42


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["reward.function=nowhere:score"], "but the module `nowhere` cannot be found"),
        (["reward.function=json:score"], "but `json` has no function `score`"),
        (["solver.model=./nowhere"], "there is no model folder ./nowhere"),
        (["seeds.sandbox=null", "seeds.path=gone.csv"], "`seeds.path` is gone.csv, and there is no such file"),
        (["sample.fraktion=1"], "unknown key `sample.fraktion`; did you mean `sample.fraction`?"),
    ],
)
def test_settings_that_cannot_work_are_said_before_anything_is_paid(
    tmp_path: Path, settings: list[str], sentence: str
) -> None:
    arguments = [part for setting in settings for part in ("--set", setting)]
    done = eva(tmp_path / "data", "build", "--iter", "1", settings=(*SMALL, *arguments))
    assert (done.returncode, sentence in done.stderr) == (1, True), done.stderr


def test_a_model_without_a_chat_template_is_said(tmp_path: Path) -> None:
    model = shutil.copytree(SANDBOX_MODEL, tmp_path / "model")
    (model / "chat_template.jinja").unlink()
    settings = (*SMALL, "--set", f"solver.model={model}")
    status, errors = run_eva(tmp_path / "data", "build", "--iter", "1", settings=settings)
    assert (status, "has no chat template, so its prompts cannot be rendered" in errors) == (1, True), errors


def test_wrong_usage_has_status_2(tmp_path: Path) -> None:
    assert eva(tmp_path / "data", "build", settings=()).returncode == 2
    assert eva(tmp_path / "data", "build", "--iter", "0", settings=()).returncode == 2


def test_a_full_disk_is_said_and_with_room_again_the_build_ends(tmp_path: Path, shared_data: Path) -> None:
    folder = tmp_path / "data"
    config = tmp_path / "eva.yaml"
    responses = shared_data / "responses_alpaca_eval.parquet"
    config.write_text(f"name: acme/table\nsolver: {{backend: table, path: {responses}, model: model}}\n")
    line = shlex.join(command(folder, "build", "--iter", "1", settings=()))
    # A file may grow to 64 blocks of 1024 bytes: less than the responses need.
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 64; {line}"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("manifests/*"))
    assert run_eva(folder, "build", "--iter", "1", settings=())[0] == 0
    assert "responses/iter_1.parquet" in hashes(folder)


def test_a_disk_that_fills_up_while_a_model_answers_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    line = shlex.join(command(folder, "build", "--iter", "1"))
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 12; {line}"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert eva(folder, "build", "--iter", "1").returncode == 0


def test_init_writes_a_config_once_and_help_imports_nothing_heavy(tmp_path: Path) -> None:
    first = subprocess.run(
        [sys.executable, "-m", "eva_data.cli", "init"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "eva-data build --iter 1" in first.stdout
    again = subprocess.run(
        [sys.executable, "-m", "eva_data.cli", "init"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    heavy = "import sys; from eva_data.cli import main; main(['--help'], standalone_mode=False); sys.exit(bool("
    heavy += "{'polars', 'torch', 'pydantic', 'distilabel', 'datasets', 'pyarrow', 'rich'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, check=False).returncode == 0
