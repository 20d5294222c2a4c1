"""Two iterations from nothing: reasoning-gym poses and scores, a scripted solver answers, every level is checked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sums
from odd_server import OddServer
from sandbox_runs import eva, hashes, tables

from eva_data.dataset.store import Store
from eva_data.environments import reasoning_gym
from eva_data.export.trainers import write_for_trainer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="the extra `environments` is not installed"),
]

SIZE, HELD_OUT = 20, 4
Built = tuple[Path, tuple[str, ...], OddServer]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """A folder of two iterations, the options of its build, and the solver."""
    place = tmp_path_factory.mktemp("environment")
    with sums.solver() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVA_TEST_KEY", "sk-planted")
        settings: dict[str, Any] = {
            "name": "acme/sums",
            "ledger": str(place / "ledger.sqlite"),
            "seeds": {
                "environment": "reasoning_gym/chain_sum",
                "size": SIZE + HELD_OUT,
                "config": {"min_terms": 2, "max_terms": 3, "min_digits": 2, "max_digits": 3},
            },
            "solver": {
                "backend": "api",
                "model": "tiny",
                "base_url": server.url,
                "api_key_env": "EVA_TEST_KEY",
                "responses": 4,
            },
            "reward": {"function": "eva_data.rewards.environment:score_answer", "answers": "carried"},
            "evolve": {"method": "environment"},
            "pair": {"min_chosen": 1},
            "evaluate": {"heldout": HELD_OUT},
        }
        (place / "eva.yaml").write_text(json.dumps(settings))
        options = ("--config", str(place / "eva.yaml"))
        done = eva(place / "data", "build", "--iter", "2", settings=options)
        assert done.returncode == 0, done.stderr
        yield place / "data", options, server


def question(prompt: list[dict[str, str]]) -> str:
    return prompt[-1]["content"]


def test_every_evolved_prompt_knows_its_answer_and_every_response_has_its_exact_score(built: Built) -> None:
    folder, _, _ = built
    for iteration in (1, 2):
        found = tables(folder, iteration)
        prompts = found["prompts"]
        assert prompts["answer"].to_list() == [str(sums.value(question(prompt))) for prompt in prompts["prompt"]]
        for stage in found["responses"]["stage"].unique():
            answered = found["responses"].filter(pl.col("stage") == stage)
            assert [tuple(rewards) for _, rewards in answered.group_by("prompt_id").agg("reward").iter_rows()] == [
                sums.RIGHT
            ] * answered["prompt_id"].n_unique()
        assert found["rejects"].filter(pl.col("stage") == "reward").is_empty()
        pairs = found["preferences"]
        assert pairs.select("score_chosen", "score_rejected").unique().rows() == [(1.0, 0.0)]
        assert pairs.height == prompts.height


def test_the_second_iteration_holds_levels_one_up_by_no_model(built: Built) -> None:
    folder, _, server = built
    first, second = tables(folder, 1)["prompts"], tables(folder, 2)
    prompts, evolutions = second["prompts"], second["evolutions"]
    evolved = prompts.filter(pl.col("origin") == "evolved")
    assert (first.height, prompts.height, evolved.height) == (SIZE, SIZE, round(0.8 * SIZE))
    assert evolutions["raw"].null_count() == evolutions.height
    assert evolutions["reason"].null_count() == evolutions.height
    assert evolutions["mutation"].unique().to_list() == ["one_level_up"]
    known = dict(
        pl.concat([table.select("prompt_id", "info") for table in (first, evolutions)]).unique("prompt_id").iter_rows()
    )
    upper = {"num_terms": "max_terms", "num_digits": "max_digits"}
    for parent, own in evolutions.select("parent_id", "info").iter_rows():
        before, after = (json.loads(info)["config"] for info in (known[parent], own))
        key = upper[json.loads(own)["knob"]]
        assert after[key] == before[key] + 1
    asked = {question(asked.body["messages"]) for asked in server.asked if "arithmetic" in asked.prompt}
    answered = {question(prompt) for table in (first, prompts) for prompt in table["prompt"]}
    # A build ends with an evaluation on the held-out tasks.
    assert (answered - asked, len(asked - answered)) == (set(), HELD_OUT)


def test_another_version_of_the_environment_makes_the_iterations_stale(
    built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, options, _ = built
    here = f"reasoning-gym {version('reasoning-gym')}"
    assert [Store(folder).manifest(number).inputs["seeds.environment"] for number in (1, 2)] == [here, here]
    assert "holds other content" not in eva(folder, "status", settings=options).stdout
    monkeypatch.setattr(reasoning_gym, "installed", lambda: "0.1.999")
    told = " ".join(eva(folder, "status", settings=options).stdout.split())
    assert "`seeds.environment` holds other content than iteration 1 was built from" in told


def test_the_same_build_asks_nothing_again_and_gives_the_same_bytes(built: Built) -> None:
    folder, options, server = built
    before = len(server.asked)
    again = folder.parent / "again"
    done = eva(again, "build", "--iter", "2", settings=options)
    assert done.returncode == 0, done.stderr
    assert [asked for asked in server.asked[before:] if "arithmetic" in asked.prompt] == []
    assert {name: sha for name, sha in hashes(again).items()} == hashes(folder)


def test_verify_scores_every_response_again(built: Built) -> None:
    folder, options, _ = built
    done = eva(folder, "verify", "--iter", "2", "--rescore", "1000", settings=options)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = tables(folder, 2)["responses"].filter(pl.col("stage") == "respond").height
    assert f"{answers}" in done.stdout + done.stderr


def test_held_out_tasks_are_scored_by_what_they_carry(built: Built) -> None:
    folder, options, _ = built
    done = eva(folder, "evaluate", "--solver", "theta_0", "--against", "theta_0", settings=options)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.rglob("evaluations/*.parquet")
    rows = pl.read_parquet(path)
    trained = tables(folder, 1)["prompts"]["prompt_id"]
    assert rows["prompt_id"].n_unique() == HELD_OUT
    assert not rows["prompt_id"].is_in(trained.implode()).any()
    assert rows["score"].unique().to_list() == [1.0]


def test_an_iteration_is_a_task_set_of_verifiers(built: Built, tmp_path: Path) -> None:
    from datasets import load_dataset

    folder, _, _ = built
    path = tmp_path / "tasks.jsonl"
    prompts = tables(folder, 2)["prompts"]
    assert write_for_trainer(path, Store(folder), 2, "verifiers") == prompts.height
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path))
    assert rows.column_names == ["id", "name", "prompt", "system_prompt", "answer", "info", "depth"]
    expected = [
        {
            "id": row["prompt_id"],
            "name": "reasoning_gym/chain_sum",
            "prompt": row["prompt"][1:],
            "system_prompt": row["prompt"][0]["content"],
            "answer": row["answer"],
            "info": row["info"],
            "depth": row["depth"],
        }
        for row in prompts.iter_rows(named=True)
    ]
    assert list(rows) == expected


def test_a_plan_knows_that_no_creator_is_asked(built: Built) -> None:
    folder, options, _ = built
    planned = eva(folder, "plan", "--iter", "3", "--json", settings=options)
    assert planned.returncode == 0, planned.stderr
    stages = [line["stage"] for line in json.loads(planned.stdout)["lines"]]
    assert stages == ["estimate", "reward (estimate)", "respond", "reward (respond)"]
