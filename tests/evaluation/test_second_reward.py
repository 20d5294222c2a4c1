"""A reward that trains nothing scores the held-out answers beside the reward of the settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from odd_server import OddServer, said
from sandbox_runs import error_of, eva

from eva_data.dataset.evaluations import read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.hub.checks.evaluations_again import verify_evaluations

pytestmark = pytest.mark.slow

FUNCTIONS = """
def length(prompt, response):
    return float(len(response))


def dots(prompt, response):
    return None if "3" in prompt else float(response.count("."))
"""


def test_held_out_answers_are_scored_by_both_rewards_and_a_reward_is_no_check_of_itself(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    (tmp_path / "seeds.txt").write_text(
        "".join(f"Describe the number {number} {'x' * number}.\n" for number in range(30))
    )

    def settings(second: str) -> tuple[str, ...]:
        (tmp_path / "eva.yaml").write_text(
            "name: acme/scored\nseeds: {path: seeds.txt}\n"
            f"solver: {{backend: api, model: tiny, base_url: '{server.url}'}}\n"
            "reward: {backend: verifier, function: 'mine.py:length'}\n"
            "evaluate:\n  heldout: 6\n"
            f"  second_reward: {{backend: verifier, function: 'mine.py:{second}'}}\n"
        )
        return ("--config", str(tmp_path / "eva.yaml"))

    with OddServer(lambda asked: said(asked, "Well. " + "a" * len(asked.prompt))) as server:
        failed = eva(tmp_path / "scored", "evaluate", "--solver", "theta_0", settings=settings("length"))
        assert "which is `reward` too and cannot be a check of itself: name another one" in error_of(failed)
        done = eva(tmp_path / "scored", "evaluate", "--solver", "theta_0", settings=settings("dots"))
    assert done.returncode == 0, done.stderr
    store = Store(tmp_path / "scored")
    record = read_record(store)
    assert record is not None
    made = {each.rule: each for each in record.evaluations}
    assert sorted(made) == ["reward", "second_reward", "verifier"]
    rows = read_rows(store, record)
    first, second = (rows.filter(rule=rule) for rule in ("reward", "second_reward"))
    assert first["score"].to_list() == [float(len(text)) for text in first["response"]]
    assert set(second["score"].drop_nulls()) == {1.0}
    assert made["reward"].figures["unit"] == "reward"
    assert made["reward"].figures["estimate"][0] == pytest.approx(first["score"].mean())
    assert made["second_reward"].figures["estimate"] == [1.0, 1.0, 1.0]
    unscored = second["score"].null_count()
    assert made["second_reward"].figures["judged"] == 6 - unscored and unscored == second["reason"].count()
    mean = first["score"].to_numpy().mean()
    assert f"theta_0: reward {mean:.2f} [" in made["reward"].figures["sentence"]
    assert "heldout (second_reward)" in done.stdout and verify_evaluations(store) == ([], [])
