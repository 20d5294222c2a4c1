"""Environments of verifiers 0.1 to 0.3 as seeds and as the reward."""

from __future__ import annotations

import json
import signal
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from eva_data.environments.posing import posed, version_of
from eva_data.errors import ConfigError, DataError, ForeignCodeError
from eva_data.own_code import only
from eva_data.rewards.backends.verifier import load_verifier

SOURCE = Path(__file__).parent / "sums_environment.txt"
"""A module of verifiers, which is not installed where types are checked."""


def installed() -> str:
    try:
        return version("verifiers")
    except PackageNotFoundError:
        return ""


needs_verifiers = pytest.mark.skipif(
    not installed().startswith(("0.1.", "0.2.", "0.3.")), reason="verifiers 0.1 to 0.3 is not installed"
)


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    place = tmp_path / "sums_environment.py"
    place.write_text(SOURCE.read_text(encoding="utf-8"))
    return place


def test_a_function_with_the_name_that_verifiers_asks_for_is_called_and_must_make_an_environment(
    tmp_path: Path,
) -> None:
    place = tmp_path / "mine.py"
    place.write_text("def load_environment():\n    return {}\n")
    with pytest.raises(ConfigError, match=r"`mine.py:load_environment` made a dict: expected an `Environment`"):
        posed(f"{place}:load_environment", size=1, seed=0, config={})
    broken = tmp_path / "broken.py"
    broken.write_text("def load_environment():\n    return 1 / 0\n")
    with pytest.raises(ConfigError, match=r"made no environment, it raised ZeroDivisionError: division by zero"):
        posed(f"{broken}:load_environment", size=1, seed=0, config={})
    with pytest.raises(DataError, match=r"called without arguments, since the reward calls it too: write a function"):
        posed(f"{place}:load_environment", size=1, seed=0, config={"level": 3})
    with only([]), pytest.raises(ForeignCodeError, match="your settings do not name this function"):
        posed(f"{tmp_path / 'other.py'}:load_environment", size=1, seed=0, config={})


@needs_verifiers
def test_an_environment_poses_prompts_and_scores_replies(sums: Path) -> None:
    name = f"{sums}:load_environment"
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    found = posed(name, size=2, seed=0, config={})
    assert found.select("prompt", "reason", "answer", "source").to_dicts() == [
        {
            "prompt": [{"role": "system", "content": "Be short."}, {"role": "user", "content": f"What is {n} + {n}?"}],
            "reason": None,
            "answer": str(2 * n),
            "source": "sums_environment.py:load_environment",
        }
        for n in (1, 2)
    ]
    info = json.loads(found["info"][1])
    assert info["environment"] == "sums_environment.py:load_environment" and info["config"] == {}
    assert info["metadata"]["info"] == {"shortest": 20} and info["metadata"]["answer"] == "4"
    score = load_verifier(name)
    replies = ["It is 4", "<think>5</think>4", "It is 5", "It is, if I am not wrong, exactly 4", ""]
    assert [score("What is 2 + 2?", reply, "4", found["info"][1]) for reply in replies] == [1.5, 1.5, 0.5, 1.0, 0.5]
    assert score("What is 2 + 2?", "4", "4", None) is None
    assert version_of(name).startswith("verifiers 0.")
    assert handlers == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))


@needs_verifiers
def test_a_reward_that_raises_is_no_reward_of_zero(sums: Path) -> None:
    (info,) = posed(f"{sums}:load_environment", size=1, seed=0, config={})["info"]
    with pytest.raises(ZeroDivisionError, match="what is it"):
        load_verifier(f"{sums}:failing")("What is 1 + 1?", "2", "2", info)
    assert load_verifier(f"{sums}:metric_fails")("What is 1 + 1?", "2", "2", info) == 1.0


@needs_verifiers
@pytest.mark.parametrize(
    ("function", "needs"),
    [
        ("judged", "a judge"),
        ("grouped", "all replies to a prompt together"),
        ("unrewarded", "a reward, which it lacks,"),
        ("conversing", "several turns"),
        ("prepared", r"a part in the making of a reply \(`setup_state`\)"),
    ],
)
def test_an_environment_that_needs_more_than_a_reply_is_refused(
    sums: Path, monkeypatch: pytest.MonkeyPatch, function: str, needs: str
) -> None:
    # A judge's client is made with it, and wants a key.
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with pytest.raises(DataError, match=f"`sums_environment.py:{function}` needs {needs}, and an environment is used"):
        posed(f"{sums}:{function}", size=1, seed=0, config={})


@needs_verifiers
def test_what_makes_no_environment_or_has_fewer_rows_is_told(sums: Path) -> None:
    with pytest.raises(ConfigError, match=r"`sums_environment.py:nothing` made a dict"):
        posed(f"{sums}:nothing", size=1, seed=0, config={})
    with pytest.raises(DataError, match=r"has 3 rows, and `seeds.size` is 4: set it to 3 or less"):
        posed(f"{sums}:load_environment", size=4, seed=0, config={})
