"""Bounds that a newly trained theta must keep."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from sandbox_runs import SMALL, error_of, eva

from eva_data.config import Accept
from eva_data.dataset.evaluations import Compared
from eva_data.dataset.store import Store
from eva_data.evaluation.figures import Figures
from eva_data.game.accept import broken
from eva_data.statistics.interval import Interval


def figures(unit: str, estimate: float | None, tokens: tuple[float | None, float | None], cut: float | None) -> Figures:
    compared = Compared(
        key="0",
        set="s",
        rule="own",
        source="",
        solver="a",
        solver_name="theta_1",
        judges=(),
        prompts=4,
        prompts_hash="",
    )
    interval = None if estimate is None else Interval(estimate, estimate, estimate, 4)
    return Figures(
        compared=compared,
        unit=unit,
        judged=4,
        estimate=interval,
        scores=pl.DataFrame(),
        categories={},
        scale=(0, 1),
        pass_at={},
        tokens=tokens,
        truncated=(cut, None),
        length_controlled=None,
        orders=(),
        agreement=None,
        effective_judges=None,
        overlap=None,
        reasons={},
    )


def test_each_bound_is_told_that_is_broken() -> None:
    accept = Accept(min_win_rate=0.5, max_length_ratio=1.2, max_truncated=0.1)
    good = figures("win rate", 0.5, (120, 100), 0.1)
    assert broken(accept, good, None) == []
    bad = figures("win rate", 0.4, (130, 100), 0.2)
    assert broken(accept, bad, None) == [
        "its win rate is 0.4, below 0.5",
        "its answers are 1.3 times as long, more than 1.2",
        "0.2 of its answers are cut at `max_tokens`, more than 0.1",
    ]


def test_a_drop_is_counted_against_the_theta_before() -> None:
    before, ours = figures("right", 0.5, (10, None), 0.0), figures("right", 0.45, (10, None), 0.0)
    assert broken(Accept(max_drop=0.1, max_length_ratio=1.0), ours, before) == []
    assert broken(Accept(max_drop=0.02), ours, before) == ["it is 0.05 below the theta before, more than 0.02"]


def test_what_is_unknown_is_outside() -> None:
    accept = Accept(min_win_rate=0.5, max_drop=0.1, max_length_ratio=2, max_truncated=0.5)
    nothing = figures("win rate", None, (None, None), None)
    assert broken(accept, nothing, None) == [
        "its win rate is unknown, below 0.5",
        "it is unknown below the theta before, more than 0.1",
        "its answers are unknown times as long, more than 2",
        "unknown of its answers are cut at `max_tokens`, more than 0.5",
    ]


@pytest.mark.slow
def test_a_theta_outside_the_bounds_does_not_play(tmp_path: Path) -> None:
    folder = tmp_path / "game"
    strict = (*SMALL, "--set", "train.accept={max_length_ratio: 0.01}")
    done = eva(folder, "build", "--iter", "2", settings=strict)
    assert done.returncode == 1
    assert "theta_1 is not accepted by `train.accept` (its answers are " in done.stderr
    store = Store(folder)
    assert store.iterations() == [1]
    assert not store.solver_folder(1).exists()
    assert (folder / ".eva" / "solvers" / "iter_1.rejected" / "config.json").exists()
    # Asked again, it is not trained again.
    again = error_of(eva(folder, "build", "--iter", "2", settings=strict))
    assert "theta_0 stays the newest" in again
    # Without the bounds it is trained and plays.
    done = eva(folder, "build", "--iter", "2")
    assert done.returncode == 0, done.stderr
    assert store.iterations() == [1, 2] and store.manifest(2).theta == 1
