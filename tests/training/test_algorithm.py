"""A solver is trained by the given algorithm and on the given iterations, or an error says why not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sandbox_runs import SMALL, eva
from scripts import RECIPES
from tiny import pairs, save_dataset, save_model

from eva_data.config import Config
from eva_data.config.reading import parse_config
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, DataError, StaleError
from eva_data.training.launch import launch_arguments
from eva_data.training.offline import win_probabilities
from eva_data.training.recipes import OFFLINE, algorithm_of, find_recipe, refuse_another, split_of, with_algorithm


def config(**train: Any) -> Config:
    return parse_config(
        {
            "name": "test",
            "seeds": {"sandbox": 10},
            "reward": {"function": "eva_data.sandbox.verifier:score"},
            "solver": {"backend": "transformers", "model": "acme/base", "threads": 1},
            "train": train,
        },
        "the test",
    )


def test_every_algorithm_has_a_recipe_of_its_name_and_one_for_the_sandbox() -> None:
    for algorithm in OFFLINE:
        assert with_algorithm(config(recipe="dpo"), algorithm).train.recipe == algorithm
        sandbox = with_algorithm(config(recipe="sandbox"), algorithm).train.recipe
        assert sandbox == ("sandbox" if algorithm == "dpo" else f"sandbox_{algorithm}")
        assert algorithm_of(find_recipe(algorithm)) == algorithm_of(find_recipe(sandbox)) == algorithm


def test_a_configured_recipe_of_the_algorithm_is_kept(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("algorithm: simpo\nbeta: 3.0\n")
    mine = config(recipe=str(tmp_path / "mine.yaml"))
    assert with_algorithm(mine, "simpo") == mine
    assert with_algorithm(mine, "orpo").train.recipe == "orpo"
    assert with_algorithm(config(recipe="dpo_nll"), "dpo").train.recipe == "dpo_nll"
    with pytest.raises(ConfigError, match="`--algorithm` is `ppo`: known are dpo, sppo, simpo, orpo"):
        with_algorithm(mine, "ppo")


def test_a_recipe_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("beta: 0.1\n")
    assert find_recipe("dpo") == RECIPES / "dpo.yaml"
    assert find_recipe(str(tmp_path / "mine.yaml")) == tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match=r"`train\.recipe` is `dop`: known are cpo, dapo, dpo, dpo_nll, "):
        find_recipe("dop")
    with pytest.raises(ConfigError, match="no such file"):
        find_recipe(str(tmp_path / "yours.yaml"))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("beta: 0.1", "names no `algorithm`: `eva-data train` knows dpo, sppo, simpo, orpo"),
        ("", "names no `algorithm`: `eva-data train` knows dpo, sppo, simpo, orpo"),
        ("algorithm: ppo", "has `algorithm: ppo`: `eva-data train` knows dpo, sppo, simpo, orpo"),
        ("algorithm: [", "is no YAML: while parsing"),
    ],
)
def test_a_recipe_must_name_an_algorithm(tmp_path: Path, text: str, found: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"{text}\n")
    with pytest.raises(ConfigError, match=rf"mine\.yaml {found}"):
        algorithm_of(tmp_path / "mine.yaml")


def test_a_solver_learns_from_its_own_iteration_or_from_all_up_to_it(tmp_path: Path) -> None:
    tables = {"iter_1": pairs(3), "iter_2": pairs(0), "iter_3": pairs(2)}
    store = Store(save_dataset(tmp_path / "data", tables))
    scratch = config(mode="scratch")
    assert split_of(config(), store, 3) == "iter_3"
    assert split_of(scratch, store, 1) == "iter_1"
    assert split_of(scratch, store, 3) == "iter_1+iter_3"  # `load_dataset` knows no split without rows
    with pytest.raises(DataError, match="iteration 2 has 0 pairs"):
        split_of(scratch, store, 2)
    with pytest.raises(StaleError, match="iteration 4 has no pairs yet: build it"):
        split_of(config(), store, 4)


def test_a_solver_trained_otherwise_is_not_passed_off_as_the_one_asked_for(tmp_path: Path) -> None:
    store = Store(save_dataset(tmp_path / "data", {"iter_1": pairs(3), "iter_2": pairs(2)}))
    solver = save_model(store.solver_folder(2))
    (solver / "training.json").write_text(json.dumps({"algorithm": "simpo", "split": "iter_2"}))
    refuse_another(config(recipe="simpo"), store, 2)
    with pytest.raises(StaleError, match="theta_2 is there, trained by simpo on iter_2 and not by dpo on iter_2, and"):
        refuse_another(config(), store, 2)
    with pytest.raises(StaleError, match=r"and not by simpo on iter_1\+iter_2, .*: set another `folder`, or delete"):
        refuse_another(config(recipe="simpo", mode="scratch"), store, 2)


def test_several_gpus_are_accelerates_business(tmp_path: Path) -> None:
    file = tmp_path / "fsdp.yaml"
    with pytest.raises(ConfigError, match=r"`train\.accelerate` is .*fsdp\.yaml, but there is no such file"):
        launch_arguments(config(accelerate=str(file)), {})
    file.write_text("distributed_type: FSDP\n")
    arguments, environment = launch_arguments(config(accelerate=str(file)), {"CUDA_VISIBLE_DEVICES": "4,5"})
    assert arguments == ["--config_file", str(file)]
    assert environment["CUDA_VISIBLE_DEVICES"] == "4,5"


def test_scores_are_probabilities_of_winning_if_one_pairwise_reward_gave_them() -> None:
    values = config().model_dump(mode="json", exclude_unset=True)
    compared = {"backend": "pairwise", "model": "llm-blender/PairRM", "kind": "pairrm"}
    pairwise = parse_config(values | {"reward": compared}, "the test")
    assert win_probabilities(pairwise) == ("--win_probabilities_since", "1")
    assert win_probabilities(config()) == (), "a verifier's rewards are none"
    several = {"backend": "several", "rewards": [compared, {"backend": "classifier", "model": "acme/reward"}]}
    assert win_probabilities(parse_config(values | {"reward": several}, "the test")) == (), (
        "standardised means are none"
    )
    table = {"backend": "table", "path": "table.parquet", "then": values["solver"]}
    tabled = {key: value for key, value in values.items() if key != "seeds"} | {"solver": table, "reward": compared}
    assert win_probabilities(parse_config(tabled, "the test")) == ("--win_probabilities_since", "2")


def test_where_and_by_what_launch_it_is_trained_makes_no_other_dataset() -> None:
    changed = config(accelerate="fsdp.yaml", report_to=["wandb"])
    assert changed.data() == config().data()


@pytest.mark.slow
def test_no_solver_is_trained_on_a_table_alone(tmp_path: Path) -> None:
    rows = {"prompt": ["Say ab."] * 2, "response": ["ab", "ba"], "reward": [1.0, 0.0]}
    pl.DataFrame(rows).write_parquet(tmp_path / "table.parquet")
    (tmp_path / "eva.yaml").write_text(
        "name: tabled\nreward: {backend: verifier, function: 'eva_data.sandbox.verifier:score'}\n"
        "solver: {backend: table, path: table.parquet, then: {backend: transformers, model: sandbox}}\n"
    )
    built = eva(tmp_path / "tabled", "build", "--iter", "1", settings=())
    assert built.returncode == 0, built.stderr
    refused = eva(tmp_path / "tabled", "train", "--iter", "1", settings=())
    assert refused.returncode == 1
    assert "iteration 1 holds the responses of a table, so there is no solver of its own" in refused.stderr


@pytest.mark.slow
def test_orpo_from_scratch_in_the_sandbox(built: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(built, tmp_path / "game")
    refused = eva(folder, "train", "--iter", "1", "--algorithm", "simpo")
    assert refused.returncode == 1
    assert "theta_1 is there, trained by dpo on iter_1 and not by simpo on iter_1, and a finished" in refused.stderr

    settings = (*SMALL, "--set", "train.mode=scratch")
    done = eva(folder, "train", "--iter", "2", "--algorithm", "orpo", settings=settings)
    assert done.returncode == 0, done.stderr
    theta = folder / ".eva" / "solvers" / "iter_2"
    training = json.loads((theta / "training.json").read_text())
    assert (training["algorithm"], training["split"]) == ("orpo", "iter_1+iter_2")
    assert sorted(training["files"]) == ["iter_1.parquet", "iter_2.parquet"]
    assert training["base"] == Store(folder).manifest(1).models.solver
    card = (theta / "README.md").read_text()
    assert "preference pairs of iterations 1 to 2 of the dataset" in card
    assert "\nBy `orpo`, " in card

    again = eva(folder, "train", "--iter", "2", settings=settings)
    assert again.returncode == 1
    assert "trained by orpo on iter_1+iter_2 and not by dpo on iter_1+iter_2" in again.stderr
    assert eva(folder, "train", "--iter", "2", "--algorithm", "orpo", settings=settings).returncode == 0
