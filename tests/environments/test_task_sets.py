"""Task sets of verifiers as seeds and as the reward."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eva_data.config.reading import parse_config
from eva_data.environments.posing import posed, version_of
from eva_data.environments.task_sets import is_task_set
from eva_data.errors import ConfigError, DataError, ForeignCodeError
from eva_data.own_code import identity, only
from eva_data.rewards.backends.verifier import load_verifier

SOURCE = Path(__file__).parent / "sums_tasks.txt"
"""A module of verifiers, which is not installed where types are checked."""
SEEDS = {"environment": "sums_tasks.py:Sums", "size": 2}
REWARD = {"backend": "verifier", "function": "sums_tasks.py:Sums", "answers": "carried"}
SETTINGS: dict[str, object] = {
    "name": "sums",
    "seeds": SEEDS,
    "solver": {"backend": "transformers", "model": "acme/base"},
    "reward": REWARD,
    "mix": {"source": "new_seeds"},
}


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    place = tmp_path / "sums_tasks.py"
    place.write_text(SOURCE.read_text(encoding="utf-8"))
    return place


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"mix": {}}, "use `mix: {source: new_seeds}` with `seeds.per_iteration`"),
        ({"mix": {}, "evolve": {"method": "environment"}}, "a task set, which has no harder tasks to evolve to"),
        (
            {"reward": REWARD | {"function": "eva_data.rewards.environment:score_answer"}},
            "name the same task set in `reward.function`",
        ),
        ({"seeds": SEEDS | {"seed": 1}}, "have an order of their own: leave it out"),
    ],
)
def test_what_a_task_set_cannot_do_is_refused_by_name(changes: dict[str, object], says: str | None) -> None:
    if says is None:
        assert parse_config(SETTINGS | changes, "the test").seeds is not None
        return
    with pytest.raises(ConfigError) as refused:
        parse_config(SETTINGS | changes, "the test")
    assert says in str(refused.value)


def test_something_else_is_no_task_set_and_nothing_is_loaded_that_the_settings_do_not_name(sets: Path) -> None:
    assert not is_task_set(Path) and not is_task_set(json.loads) and not is_task_set(None)
    assert identity("pathlib:Path", Path).startswith("pathlib:Path@") and not identity("pathlib:Path", Path).endswith(
        "unknown"
    )
    with pytest.raises(ConfigError, match="which is no task set of verifiers"):
        posed("pathlib:Path", size=1, seed=0, config={})
    with only([]), pytest.raises(ForeignCodeError, match="your settings do not name this function"):
        posed(f"{sets}:Sums", size=1, seed=0, config={})


def test_a_task_set_poses_prompts_and_scores_replies(sets: Path) -> None:
    pytest.importorskip("verifiers", "0.4", reason="task sets are read from verifiers 0.4 on")
    found = posed(f"{sets}:Sums", size=2, seed=0, config={"largest": 3})
    assert found.select("prompt", "reason", "answer", "source").to_dicts() == [
        {
            "prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": f"What is {n} + {n}?"}],
            "reason": None,
            "answer": str(2 * n),
            "source": "sums_tasks.py:Sums",
        }
        for n in (1, 2)
    ]
    info = json.loads(found["info"][1])
    assert info["environment"] == "sums_tasks.py:Sums" and info["config"] == {}
    assert info["metadata"] == {"idx": 1, "prompt": "What is 2 + 2?", "system_prompt": "Be short.", "answer": "4"}
    score = load_verifier(f"{sets}:Sums")
    replies = ["It is 4", "<think>5</think>4", "It is 5", "It is, if I am not wrong, exactly 4", ""]
    assert [score("What is 2 + 2?", reply, "4", found["info"][1]) for reply in replies] == [1.5, 1.5, 0.5, 1.0, 0.5]
    assert score("What is 2 + 2?", "4", "4", None) is None
    assert version_of(f"{sets}:Sums").startswith("verifiers 0.")


def test_a_task_set_that_cannot_be_used_says_why(sets: Path) -> None:
    pytest.importorskip("verifiers", "0.4", reason="task sets are read from verifiers 0.4 on")
    with pytest.raises(DataError, match=r"`sums_tasks.py:Sums` has 3 tasks, and `seeds.size` is 4"):
        posed(f"{sets}:Sums", size=4, seed=0, config={"largest": 3})
    with pytest.raises(DataError, match=r"refuses `seeds.config` \(`wrong`: .*\): it takes system_prompt, largest"):
        posed(f"{sets}:Sums", size=1, seed=0, config={"wrong": 3})
    with pytest.raises(DataError, match=r"`seeds.config` holds `task`"):
        posed(f"{sets}:Sums", size=1, seed=0, config={"task": {}})
    with pytest.raises(DataError, match="need a container for `setup`, and a task is used only if"):
        posed(f"{sets}:Prepared", size=1, seed=0, config={})
