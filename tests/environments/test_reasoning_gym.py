"""reasoning-gym as an environment: its tasks, its scorers, its curricula."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import polars as pl
import pytest

from eva_data.environments.posing import one_level_up, posed
from eva_data.environments.reasoning_gym import UNREPEATABLE
from eva_data.environments.tasks import PosedTask, read_info
from eva_data.errors import DataError
from eva_data.rewards.environment import score_answer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="the extra `environments` is not installed"),
]

SMALL = {"min_terms": 2, "max_terms": 3, "min_digits": 1, "max_digits": 2}


def tasks(name: str, size: int, **config: object) -> list[PosedTask]:
    """The first tasks of a data set, all of which can be used."""
    found = posed(f"reasoning_gym/{name}", size=size, seed=7, config=config)
    assert found["reason"].null_count() == size, found
    return [
        PosedTask(prompt[-1]["content"], answer, info)
        for prompt, answer, info in found.select("prompt", "answer", "info").iter_rows()
    ]


def score(task: PosedTask, response: str) -> float | None:
    return score_answer(task.text, response, task.answer, task.info)


def test_a_task_carries_what_scores_it() -> None:
    found = posed("reasoning_gym/chain_sum", size=2, seed=3, config=SMALL)
    (row, other) = found.to_dicts()
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
    assert "<answer>answer here</answer>" in row["prompt"][0]["content"]
    assert row["prompt"][1]["content"] == "State the final answer to the following arithmetic problem: 5 - 9 ="
    assert (row["answer"], row["reason"], row["source"]) == ("-4", None, "reasoning_gym/chain_sum")
    info = read_info(row["info"])
    assert (info["environment"], info["config"], info["knob"]) == ("reasoning_gym/chain_sum", SMALL, None)
    assert info["metadata"] == {
        "source_dataset": "chain_sum",
        "source_index": 0,
        "num_terms": 2,
        "num_digits": 1,
        "expression": "5 - 9",
        "difficulty": {"num_terms": (2, 3), "num_digits": (1, 2)},
    }
    assert other["answer"] != row["answer"]


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("<answer>-4</answer>", 1.0),
        ("It is <answer>7</answer>, no: <answer>\n-4.0 </answer> at last", 1.0),
        ("<think><answer>7</answer></think><answer>-4</answer>", 1.0),
        ("<answer>7</answer>", 0.0),
        ("-4", 0.0),
        ("", 0.0),
        ("<think>-4", 0.0),
        # The scorer gives a part to an answer around the right one.
        ("<answer>It: -4</answer>", 2 / 6),
    ],
)
def test_a_response_has_the_data_sets_own_score(response: str, expected: float) -> None:
    info = json.dumps({"environment": "reasoning_gym/chain_sum", "version": "0.1.25", "config": SMALL, "metadata": {}})
    assert score_answer("5 - 9 =", response, "-4", info) == expected


def test_a_task_with_several_right_answers_has_none_and_is_checked() -> None:
    (task,) = tasks("graph_color", 1)
    assert task.answer is None
    edges = read_info(task.info)["metadata"]["puzzle"]["edges"]
    vertices = read_info(task.info)["metadata"]["puzzle"]["vertices"]
    colours = read_info(task.info)["metadata"]["puzzle"]["color_options"]
    coloured: dict[int, int] = {}
    for vertex in vertices:
        near = {coloured[a] for pair in edges for a in pair if vertex in pair and a in coloured}
        coloured[vertex] = next(colour for colour in colours if colour not in near)
    right = json.dumps({str(vertex): colour for vertex, colour in coloured.items()})
    wrong = json.dumps({str(vertex): colours[0] for vertex in vertices})
    assert score(task, f"<answer>{right}</answer>") == 1
    assert (score(task, f"<answer>{wrong}</answer>") or 0) < 1


def test_every_rewrite_is_one_level_up_and_knows_its_answer() -> None:
    (task,) = tasks("chain_sum", 1, **SMALL)
    upper = {"num_terms": ("max_terms", 12), "num_digits": ("max_digits", 10)}
    for number in range(40):
        harder = one_level_up(task, number / 41)
        if harder is None:
            break
        before, after = read_info(task.info), read_info(harder.info)
        key = upper[after["knob"]][0]
        assert after["config"][key] == before["config"][key] + 1
        assert after["metadata"][after["knob"]] == after["config"][key]
        assert score(harder, f"<answer>{harder.answer}</answer>") == 1
        assert one_level_up(task, number / 41) == harder
        task = harder
    # From 3 terms and 2 digits to 12 and 10.
    assert number == 9 + 8
    config = read_info(task.info)["config"]
    assert all(config[key] == most for key, most in upper.values())


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no_such", "reasoning-gym .* has no data set `no_such`: it has ab, acre, advanced_geometry"),
        ("composite", "mixes other data sets of reasoning-gym: name one of them"),
        ("word_ladder", "are others in every process, whatever the seed"),
        ("countdown", "evaluates responses as Python, so that a response could run code"),
        ("n_queens", "evaluates responses as Python"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        posed(f"reasoning_gym/{name}", size=1, seed=1, config={})


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("spell_backward", {"data_file": "../../../../etc/passwd"}),
        ("basic_arithmetic", {"operators": ["+", "/"], "seed_words": [{"of": ["a/b"]}]}),
    ],
)
def test_settings_that_came_with_a_dataset_read_no_file(name: str, config: dict[str, Any]) -> None:
    with pytest.raises(DataError, match=r"hold `(\.\./\.\./\.\./\.\./etc/passwd|a/b)`: a data set reads no file"):
        posed(f"reasoning_gym/{name}", size=1, seed=1, config=config)
    assert tasks("basic_arithmetic", 1, operators=["+", "/"])


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            {"max_terms": 1},
            r"refuses the settings \{'max_terms': 1\} \(AssertionError: max_terms must be >= min_terms\)",
        ),
        ({"colour": 1}, "it takes min_terms, max_terms, min_digits, max_digits, allow_negation"),
        ({"size": 3}, "`seeds.config` holds `size`: write it as `seeds.size`"),
    ],
)
def test_settings_that_a_data_set_does_not_take_are_refused(config: dict[str, object], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        posed("reasoning_gym/chain_sum", size=1, seed=1, config=config)


def test_what_a_data_set_prints_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    assert len(tasks("bf", 2)) == 2
    assert capfd.readouterr().out == ""


ALL = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
from reasoning_gym.factory import DATASETS
from eva_data.environments import reasoning_gym
from eva_data.environments.posing import one_level_up, posed
from eva_data.environments.tasks import PosedTask
from eva_data.errors import DataError

reasoning_gym.UNREPEATABLE = frozenset()
slow = {"zebra_puzzles", "knight_swap", "sokoban", "sudoku", "arc_agi", "futoshiki"}
for name in sorted(DATASETS):
    try:
        found = posed(f"reasoning_gym/{name}", size=2 if name in slow else 12, seed=5, config={})
    except DataError as error:
        print(json.dumps([name, "refused", str(error)]), flush=True)
        continue
    row = found.row(0, named=True)
    task = PosedTask(row["prompt"][-1]["content"], row["answer"], row["info"])
    harder = None if name in slow else one_level_up(task, 0.37)
    content = json.dumps([found.drop("prompt").rows(), harder and [harder.text, harder.info]])
    made = hashlib.sha256(content.encode()).hexdigest()
    print(json.dumps([name, made, [found["reason"].count(), harder is not None]]), flush=True)
"""


@pytest.mark.long
def test_every_data_set_is_repeatable_and_scorable_or_refused() -> None:
    told = []
    for order in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": order}
        done = subprocess.run([sys.executable, "-c", ALL], env=environment, capture_output=True, text=True, check=True)
        told.append({name: rest for name, *rest in map(json.loads, done.stdout.splitlines())})
    first, second = told
    refused = {name for name, (what, _) in first.items() if what == "refused"}
    changing = {name for name in first if first[name][0] != second[name][0]}
    assert changing | refused >= UNREPEATABLE
    assert changing - UNREPEATABLE == set()
    assert {name: numbers for name, (_, numbers) in first.items() if name not in refused and numbers[0]} == {}
    assert "composite" in refused
    usable = len(first) - len(refused | UNREPEATABLE)
    assert usable >= 85


def test_the_tasks_of_two_processes_are_the_same() -> None:
    code = (
        "from eva_data.environments.posing import posed\n"
        "print(posed('reasoning_gym/list_functions', size=6, seed=5, config={}).select('answer', 'info').write_json())"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": order},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for order in ("1", "2")
    ]
    assert told[0] == told[1]
    assert pl.read_json(told[0].encode()).height == 6
