"""Outcomes that are measured on the prompts of the last iteration: regret, reward, pairs and diversity."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from small_store import small_store

from eva_data.experiments.arms import Play
from eva_data.experiments.design import Design, PrimaryOutcome
from eva_data.experiments.outcomes import deciding, measured, outcomes_of
from eva_data.experiments.verdicts import compare


def design(measure: str = "regret", **changes: object) -> Design:
    arms = {"one": (), "two": ()}
    primary = PrimaryOutcome.model_validate({"measure": measure})
    whole = Design(
        name="s", question="?", config="sandbox", iterations=2, seeds=1, arms=arms, compare=(("one", "two"),),
        primary=primary,
    )  # fmt: skip
    return whole.model_copy(update=changes)


def test_measures_are_means_over_the_prompts_of_an_iteration(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    rows = store.scan("informativeness", 2).filter(pl.col("stage") == "respond").collect()
    pairs, prompts = (store.scan(table, 2).collect().height for table in ("preferences", "prompts"))
    assert (pairs, prompts) == (1, 2)
    assert measured(store, 2, "regret") == pytest.approx((rows["a_avg"].mean(), 2))
    assert measured(store, 2, "reward") == pytest.approx((rows["reward_mean"].mean(), 2))
    assert measured(store, 2, "unpaired") == (0.5, 2)
    # Three seeds of one other word each: far from each other, and not all as far as can be.
    value, counted = measured(store, 1, "diversity")
    assert value is not None and 0 < value <= 1 and counted == 3


def test_each_arm_is_measured_after_its_own_iterations(tmp_path: Path) -> None:
    for arm in ("one", "two"):
        store = small_store(tmp_path / arm / "seed_1")
    plays = [Play("one", 1), Play("two", 1)]
    whole = design("unpaired", arm_iterations={"one": 1})
    # Two of three prompts have a pair in iteration 1, one of two in iteration 2.
    found = outcomes_of(whole, tmp_path, plays, pl.DataFrame())
    assert found.rows() == [("one", 1, pytest.approx(1 / 3), 3), ("two", 1, 0.5, 2)]
    start = outcomes_of(whole, tmp_path, plays, pl.DataFrame(), at_start=True)
    assert start["value"].to_list() == pytest.approx([1 / 3, 1 / 3])
    assert outcomes_of(whole.model_copy(update={"iterations": 3}), tmp_path, plays, pl.DataFrame())[
        "arm"
    ].to_list() == ["one"]
    assert store.iterations() == [1, 2]


def test_of_the_scores_the_last_theta_of_each_arm_decides() -> None:
    rows = [(arm, 1, theta, "depth 3", "p", float(theta)) for arm in ("one", "two") for theta in (0, 1, 2)]
    scores = pl.DataFrame(rows, schema=["arm", "seed", "theta", "category", "prompt_id", "score"], orient="row")
    whole = design("score", arm_iterations={"one": 1})
    assert deciding(whole, scores).select("arm", "theta").rows() == [("one", 1), ("two", 2)]
    assert deciding(whole, scores, at_start=True).select("arm", "theta").rows() == [("one", 0), ("two", 0)]


def test_more_regret_is_higher_and_not_better() -> None:
    values = pl.DataFrame({"arm": ["one"] * 8 + ["two"] * 8, "seed": [*range(8)] * 2, "value": [0.2] * 8 + [0.1] * 8})
    [verdict] = compare(design(), values)
    assert verdict.word == "higher"
    assert verdict.sentence == "one is higher than two: +10.0 points over 8 seeds (95 %: +10.0 to +10.0)."
