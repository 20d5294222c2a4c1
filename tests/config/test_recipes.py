"""The ready settings: each parses as the expected classes, can be planned, and is written by `eva-data init`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
import yaml
from click.testing import CliRunner

from eva_data.cli import main
from eva_data.config import (
    ApiModel,
    Classifier,
    Config,
    Consensus,
    Judge,
    RewardServer,
    TransformersModel,
    Verifier,
    VllmModel,
)
from eva_data.config.reading import RECIPES, load_config
from eva_data.dataset.seeds import read_seeds
from eva_data.jobs.job import Job
from eva_data.ledger import Score
from eva_data.rewards import score_rows

BLOCKS: dict[str, tuple[type, type | str, type]] = {
    "careless": (TransformersModel, "shared", Verifier),
    "cpu": (TransformersModel, "shared", Classifier),
    "crowded": (TransformersModel, TransformersModel, Verifier),
    "gsm8k-consensus": (VllmModel, "shared", Consensus),
    "gsm8k": (VllmModel, "shared", Verifier),
    "openai-server": (ApiModel, "shared", Judge),
    "paper": (VllmModel, ApiModel, Classifier),
    "reasoning-gym": (VllmModel, "shared", Verifier),
    "vllm": (VllmModel, "shared", RewardServer),
}
"""Solver, creator and reward of each recipe."""

recipes = pytest.mark.parametrize("name", BLOCKS)


def recipe(name: str) -> Config:
    return load_config(RECIPES / f"{name}.yaml")


def test_every_recipe_is_checked_here() -> None:
    assert sorted(file.name for file in RECIPES.glob("*.yaml")) == [f"{name}.yaml" for name in BLOCKS]


@recipes
def test_a_recipe_parses_as_the_blocks_it_stands_for(name: str) -> None:
    solver, creator, reward = BLOCKS[name]
    config = recipe(name)
    assert type(config.solver) is solver
    assert config.creator == creator or type(config.creator) is creator
    assert type(config.reward) is reward


@recipes
def test_a_recipe_explains_itself_to_a_newcomer(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "\n#   eva-data " in text
    assert all(len(line) <= 130 for line in text.splitlines())


@pytest.mark.slow
@recipes
def test_a_recipe_is_written_by_init_and_planned_without_network_or_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    written = CliRunner().invoke(main, ["init", "--recipe", name])
    assert written.exit_code == 0, written.output
    assert (tmp_path / "eva.yaml").read_text() == (RECIPES / f"{name}.yaml").read_text()
    if name.startswith("gsm8k"):
        missing = CliRunner().invoke(main, ["plan", "--iter", "2"])
        assert "`seeds.path` is gsm8k.parquet, and there is no such file" in missing.output
        pl.DataFrame({"question": ["How many clips?"], "answer": ["#### 72"]}).write_parquet("gsm8k.parquet")
    planned = CliRunner().invoke(main, ["plan", "--iter", "2"])
    if name == "reasoning-gym" and find_spec("reasoning_gym") is None:
        assert planned.exit_code == 1
        assert "package `reasoning-gym` of the extra `environments`" in " ".join(planned.output.split())
        return
    assert planned.exit_code == 0, planned.output
    assert "Iteration 2: what it will take" in planned.output


def test_the_papers_recipe_has_the_papers_numbers() -> None:
    config = recipe("paper")
    assert isinstance(config.solver, VllmModel)
    sampling = config.solver
    assert (sampling.responses, sampling.temperature, sampling.top_p, sampling.max_tokens) == (6, 0.7, 0.9, 1024)
    assert (config.sample.fraction, config.evolve.evolutions, config.mix.evolved) == (0.25, 4, 0.8)
    assert (config.evolve.temperature, config.evolve.top_p, config.evolve.max_tokens) == (1.0, 1.0, 512)
    assert (config.estimate.metric, config.sample.method, config.train.recipe) == ("a_min", "weighted", "dpo")
    assert sampling.system == "merge_into_user"


def test_the_file_of_gsm8k_is_both_the_prompts_and_their_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As openai/gsm8k has it.
    monkeypatch.chdir(tmp_path)
    solution = "In April she sold 48, in May 48/2 = <<48/2=24>>24.\n#### 72"
    pl.DataFrame({"question": ["How many clips in all?"], "answer": [solution]}).write_parquet("gsm8k.parquet")
    config = recipe("gsm8k")
    assert config.seeds is not None
    assert isinstance(config.reward, Verifier)
    (seed,), rejects = (frame.to_dicts() for frame in read_seeds(config.seeds, config.seed))
    assert (seed["prompt"], rejects) == ([{"role": "user", "content": "How many clips in all?"}], [])
    job = Job(tmp_path, "reward", config.reward, ledger=tmp_path / "ledger.sqlite", scorer="verifier")
    rows = [{**seed, "response_idx": [0, 1, 2], "responses": ["72 clips.", "The answer is 71.", ""]}]
    assert score_rows(job, rows) == [[Score(1.0, None), Score(0.0, None), Score(0.0, None)]]


def test_no_recipe_holds_a_key() -> None:
    for name in BLOCKS:
        values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
        assert "api_key" not in str(values).replace("api_key_env", "")
