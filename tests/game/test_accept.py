"""Bounds that a newly trained theta must keep."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import polars as pl
import pytest
from sandbox_runs import SMALL, error_of, eva

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config import Accept
from eva_data.config.reading import load_config
from eva_data.dataset.evaluations import Compared
from eva_data.dataset.records.acceptance import Moved, read_acceptance, rejected_folder
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError
from eva_data.evaluation.figures import Figures
from eva_data.game.accept import broken, refuse_unmeasurable, too_far
from eva_data.iteration.run import Run
from eva_data.report.model_card import model_card
from eva_data.report.page.parts import Table
from eva_data.report.sections.movement import movement
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


def moved(chosen: float | None, kl: float | None) -> Moved:
    return Moved(before="b", initial="i", pairs=3, prompts=2, asked="s", chosen_per_token=chosen, kl_per_token=kl)


def test_a_theta_may_not_move_too_far() -> None:
    accept = Accept(max_chosen_drop=0.1, max_kl=0.5)
    assert too_far(accept, moved(-0.1, 0.5)) == too_far(accept, moved(2.0, 0.0)) == []
    assert too_far(accept, moved(-0.11, 0.51)) == [
        "the log-probability of the chosen responses changed by -0.11 nats per token, a fall of more than 0.1",
        "its KL divergence from theta_0 is 0.51 nats per token, above 0.5",
    ]
    unknown = [
        "the log-probability of the chosen responses changed by unknown nats per token, a fall of more than 0.1",
        "its KL divergence from theta_0 is unknown nats per token, above 0.5",
    ]
    assert too_far(accept, moved(None, None)) == too_far(accept, None) == unknown


def test_without_weights_such_bounds_are_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "eva.yaml").write_text(
        "name: remote\nseeds: {sandbox: 5}\nreward: {function: 'eva_data.sandbox.verifier:score'}\n"
        "solver: {backend: api, model: m, base_url: 'http://127.0.0.1:9/v1'}\ntrain: {accept: {max_kl: 0.1}}\n"
    )
    run = Run(load_config(tmp_path / "eva.yaml"), ConsoleReporter())
    with pytest.raises(
        ConfigError, match=r"which need the solver's weights, but `solver` `m` runs behind a URL: leave"
    ):
        refuse_unmeasurable(run)


@pytest.mark.slow
def test_a_theta_outside_the_bounds_does_not_play(tmp_path: Path) -> None:
    # No command may split such a path, or read a part of it as something else.
    folder = tmp_path / "my project's é #1" / "game"
    folder.parent.mkdir()
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


@pytest.mark.slow
def test_a_theta_is_measured_recorded_and_shown(built: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(built, tmp_path / "game")
    settings = (*SMALL, "--set", "train.replay=0.5", "--set", "train.reference=initial")
    strict = (*settings, "--set", "train.accept={max_kl: 0.0}")
    refused = eva(folder, "run", "--iters", "2", settings=strict)
    assert refused.returncode == 1
    assert "Error: theta_2 is not accepted by `train.accept` (its KL divergence from theta_0 is " in refused.stderr
    store = Store(folder)
    replayed_and_compared_with_theta_0(store, rejected_folder(store, 2))
    kept = read_acceptance(store, 2)
    assert kept is not None and kept.moved is not None
    assert kept.why == tuple(too_far(Accept(max_kl=0.0), kept.moved))
    assert kept.moved.before == store.manifest(2).models.solver
    assert kept.moved.initial == store.manifest(1).models.solver
    assert kept.moved.pairs == store.scan("preferences", 2).collect().height
    assert kept.moved.chosen_per_token is not None and kept.moved.chosen_per_token > 0  # the recipe adds its likelihood
    assert kept.moved.kl_per_token is not None and 0 < kept.moved.kl_per_token < 5
    assert kept.moved.asked == "the set sandbox"
    shown = eva(folder, "status").stdout
    assert "NOT ACCEPTED: its KL divergence" in " ".join(shown.split())

    # A kill after the record and before the folder is put aside: with wider bounds nothing is measured again.
    rejected_folder(store, 2).rename(store.solver_folder(2))
    wide = (*settings, "--set", "train.accept={max_kl: 9, max_chosen_drop: 9}")
    done = eva(folder, "run", "--iters", "2", settings=wide)
    assert done.returncode == 0, done.stderr
    accepted = read_acceptance(store, 2)
    assert accepted is not None and accepted.moved == kept.moved and accepted.why == ()
    section = movement(store)
    assert section is not None and isinstance(section.parts[0], Table)
    assert [cells[0] for cells in section.parts[0].rows] == ["theta_2"] and section.parts[0].rows[0][-1] == "yes"
    card = model_card(store, 2, store.solver_folder(2), repo=None, revision=None, dataset=None, licence=None)
    assert f"KL to theta_0 {kept.moved.kl_per_token:.3g} nats per token" in card


def replayed_and_compared_with_theta_0(store: Store, theta: Path) -> None:
    """Assert that record and card of theta_2 say which pairs it was trained on again, and by which reference model."""
    training = json.loads((theta / "training.json").read_text())
    earlier, own = (store.scan("preferences", iteration).collect().height for iteration in (1, 2))
    drawn = math.floor(earlier / 2 + 0.5)
    assert training["replay"] == {"share": 0.5, "seed": 42, "pairs": {"iter_1": drawn}}
    assert training["pairs"]["read"] == own + drawn
    theta_0 = store.manifest(1).models.solver
    assert training["reference_fingerprint"] == theta_0 != training["base"]
    assert list(training["reference"]["files"]) == ["model.safetensors"]
    assert str(store.folder) not in json.dumps(training)
    card = (theta / "README.md").read_text()
    assert "of iteration 2 and some of earlier iterations of the dataset" in card
    assert f"| reference model of the loss | `{theta_0}`, with which the game began |" in card
    among = f"drawn by lot and among the pairs above: {drawn} of `iter_1` |"
    assert f"| replayed | 50 % of the pairs of earlier iterations, {among}" in card
