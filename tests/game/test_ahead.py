"""The stages that a run foresees are those that begin, in the same order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_store import SETTINGS, small_store

from eva_data.cli.output import Silent
from eva_data.config.reading import parse_config
from eva_data.game.ahead import stages_ahead
from eva_data.iteration.run import Run


def run_of(folder: Path, **settings: Any) -> Run:
    return Run(parse_config(SETTINGS | {"folder": str(folder)} | settings, "the test"), Silent())


FIRST = [("respond", 1), ("reward", 1)]
SECOND = [("estimate", 2), ("reward", 2), ("evolve", 2), ("respond", 2), ("reward", 2)]


def test_from_nothing_everything_is_ahead(tmp_path: Path) -> None:
    run = run_of(tmp_path / "data", train={"heldout": 0})
    assert stages_ahead(run, 1, train_last=False) == FIRST
    assert stages_ahead(run, 2, train_last=False) == [*FIRST, ("train", 1), *SECOND]
    assert stages_ahead(run, 2, train_last=True) == [*FIRST, ("train", 1), *SECOND, ("train", 2)]
    judged = {"backend": "judge", "judge": {"backend": "api", "model": "m", "base_url": "http://127.0.0.1:9/v1"}}
    run = run_of(tmp_path / "judged", train={"heldout": 0}, reward=judged, pair={"rewrite": True})
    names = [name for name, _ in stages_ahead(run, 1, train_last=False)]
    assert names == ["respond", "judge", "rewrite", "judge"]


def test_evaluations_come_last_and_finished_iterations_are_not_ahead(tmp_path: Path) -> None:
    folder = small_store(tmp_path / "small").folder
    run = run_of(folder, train={"heldout": 20})
    evaluated = [(f"theta_{theta} answers sandbox", 0) for theta in (0, 1, 2, 3)]
    third = [(name, 3) for name, _ in SECOND]
    found = stages_ahead(run, 3, train_last=True)
    assert found == [("train", 1), ("train", 2), *third, ("train", 3), *evaluated]


@pytest.mark.parametrize(("mix", "names"), [({"evolved": 0}, ["respond", "reward"])])
def test_what_the_settings_leave_out_is_not_ahead(tmp_path: Path, mix: dict[str, Any], names: list[str]) -> None:
    run = run_of(tmp_path / "data", train={"heldout": 0}, mix=mix)
    second = [name for name, iteration in stages_ahead(run, 2, train_last=False) if iteration == 2]
    assert second[-2:] == names and "evolve" not in second
