"""Verdicts over seeds: numbers worked by hand, and simulated sweeps whose truth is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from eva_data.experiments.design import Design
from eva_data.experiments.verdicts import Spread, compare, is_descriptive, seeds_needed, smallest_p, spread

DESIGN = Design(
    name="two",
    question="Which is better?",
    config="eva.yaml",
    iterations=2,
    seeds=8,
    arms={"eva": (), "static": ("mix.evolved=0",)},
    compare=(("eva", "static"),),
    margin=0.01,
)


def outcomes(eva: list[float], static: list[float]) -> pl.DataFrame:
    arms = ["eva"] * len(eva) + ["static"] * len(static)
    seeds = [*range(1, len(eva) + 1), *range(1, len(static) + 1)]
    return pl.DataFrame({"arm": arms, "seed": seeds, "value": [*eva, *static]})


def test_eight_seeds_that_all_agree_are_significant_with_the_smallest_p_value() -> None:
    static = [0.10] * 8
    eva = [0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18]
    [verdict] = compare(DESIGN, outcomes(eva, static))
    # Differences are 1 ... 8 points: mean 4.5, SD sqrt(6), t(7) = 2.3646; only 2 of 256 sign patterns are as extreme.
    half = 2.364624 * np.sqrt(6) / np.sqrt(8)
    assert verdict.difference == pytest.approx(0.045)
    assert verdict.interval is not None
    assert (verdict.interval.low, verdict.interval.high) == pytest.approx((0.045 - half / 100, 0.045 + half / 100))
    assert verdict.p == pytest.approx(2 / 256)
    assert verdict.word == "better"
    assert verdict.sentence == "eva is better than static: +4.5 points over 8 seeds (95 %: +2.5 to +6.5)."


def test_the_other_order_of_the_same_arms_is_worse() -> None:
    [verdict] = compare(
        DESIGN.model_copy(update={"compare": (("static", "eva"),)}),
        outcomes([0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18], [0.10] * 8),
    )
    assert verdict.word == "worse"
    assert verdict.sentence == "static is worse than eva: -4.5 points over 8 seeds (95 %: -6.5 to -2.5)."


def test_five_seeds_are_descriptive_whatever_they_show() -> None:
    [verdict] = compare(DESIGN, outcomes([0.9] * 5, [0.1] * 5))
    assert verdict.p == pytest.approx(2 / 32)
    assert verdict.interval is not None
    assert (verdict.interval.low, verdict.interval.high) == pytest.approx((0.8, 0.8))
    assert verdict.word == "descriptive only"
    assert verdict.sentence == (
        "eva against static: +80.0 points over 5 seeds (95 %: +80.0 to +80.0); descriptive only, since 5 seeds cannot "
        "give a significant result in 1 comparison, 6 could."
    )


def test_fewer_than_five_seeds_get_no_interval() -> None:
    [verdict] = compare(DESIGN, outcomes([0.3, 0.5], [0.1, 0.1]))
    assert (verdict.interval, verdict.equivalence, verdict.visible) == (None, None, None)
    assert verdict.difference == pytest.approx(0.3)


def test_differences_surely_inside_the_margin_are_equivalent() -> None:
    static = [0.100] * 8
    eva = [0.101, 0.099, 0.101, 0.099, 0.101, 0.099, 0.101, 0.099]
    [verdict] = compare(DESIGN, outcomes(eva, static))
    assert verdict.word == "equivalent"
    assert verdict.sentence == (
        "eva and static are equivalent within 1 points: +0.0 points over 8 seeds (95 %: -0.1 to +0.1)."
    )


def test_a_seed_that_only_one_arm_has_is_left_out() -> None:
    [verdict] = compare(DESIGN, outcomes([0.2, 0.2, 0.9], [0.1, 0.1]))
    assert verdict.seeds == 2
    assert verdict.difference == pytest.approx(0.1)
    [nothing] = compare(DESIGN, outcomes([0.2], []))
    assert (nothing.seeds, nothing.difference, nothing.word) == (0, None, "descriptive only")
    assert nothing.sentence == "No seed has both eva and static to the end, so nothing is said of them."


def test_holm_counts_every_comparison_of_the_design() -> None:
    design = DESIGN.model_copy(
        update={
            "arms": {"eva": (), "static": (), "uniform": ()},
            "compare": (("eva", "static"), ("eva", "uniform")),
        }
    )
    eva, values = [0.2, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26, 0.27], []
    for arm, found in {"eva": eva, "static": [0.1] * 8, "uniform": eva}.items():
        values.append(pl.DataFrame({"arm": arm, "seed": range(1, 9), "value": found}))
    first, second = compare(design, pl.concat(values))
    assert first.p == pytest.approx(2 * 2 / 256)
    assert second.p == 1
    assert (first.word, second.word) == ("better", "equivalent")


@pytest.mark.parametrize(
    ("seeds", "comparisons", "smallest", "descriptive"),
    [
        (5, 1, 0.0625, True),
        (6, 1, 0.03125, False),
        (8, 1, 0.0078125, False),
        (8, 7, 0.0546875, True),
        (1, 1, 1.0, True),
    ],
)
def test_a_design_that_cannot_be_significant_is_known_beforehand(
    seeds: int, comparisons: int, smallest: float, descriptive: bool
) -> None:
    assert smallest_p(seeds, comparisons) == smallest
    assert is_descriptive(seeds, comparisons) is descriptive


def test_the_seeds_that_a_number_of_comparisons_needs() -> None:
    # comparisons x 2 / 2^n <= .05: 2^n >= 40, 80, 200.
    assert [seeds_needed(n) for n in (1, 2, 5)] == [6, 7, 8]


def test_noise_is_divided_between_seeds_and_prompts() -> None:
    """Where every seed has the same differences, all noise is of the prompts; where all prompts agree, of the seeds."""
    rows = [(arm, seed, 2, "p", f"{prompt}") for arm in ("eva", "static") for seed in (1, 2) for prompt in range(100)]
    table = pl.DataFrame(rows, schema=["arm", "seed", "theta", "category", "prompt_id"], orient="row")
    eva, odd = pl.col("arm") == "eva", pl.col("prompt_id").cast(pl.Int32) % 2 == 1
    by_prompt = spread(DESIGN, table.with_columns(score=(eva & odd).cast(pl.Float64)), "eva", "static")
    assert by_prompt is not None
    # SD of a mean of 100 differences that are 0 or 1 with p = .5: .05; 1,000 draws know it to some 2 %.
    assert by_prompt.seeds == 0
    assert by_prompt.prompts == pytest.approx(0.05, rel=0.08)
    assert by_prompt.both == pytest.approx(by_prompt.prompts, rel=0.1)
    by_seed = spread(DESIGN, table.with_columns(score=(eva & (pl.col("seed") == 1)).cast(pl.Float64)), "eva", "static")
    assert by_seed is not None
    # SD of a mean of two drawn seeds that are 0 or 1: sqrt(.25 / 2).
    assert by_seed.prompts == pytest.approx(0)
    assert by_seed.seeds == pytest.approx(0.25**0.5 / 2**0.5, rel=0.08)


def test_one_seed_has_no_spread() -> None:
    table = pl.DataFrame({"arm": ["eva", "static"], "seed": [1, 1], "theta": [2, 2], "category": ["a", "a"]})
    found: Spread | None = spread(DESIGN, table.with_columns(prompt_id=pl.lit("p"), score=1.0), "eva", "static")
    assert found is None


@pytest.mark.long
def test_simulated_sweeps_are_covered_tested_and_found_as_promised() -> None:
    """500 sweeps of 8 seeds: seed noise of 1.5 points, and 1,000 prompts per seed whose scores are drawn."""
    rng = np.random.default_rng(0)

    def sweeps(effect: float) -> tuple[float, float]:
        covered = rejected = 0
        for _ in range(500):
            base = rng.normal(0.2, 0.02, 8)
            eva = rng.binomial(1000, np.clip(base + effect + rng.normal(0, 0.015, 8), 0, 1)) / 1000
            static = rng.binomial(1000, base) / 1000
            [verdict] = compare(DESIGN, outcomes(eva.tolist(), static.tolist()))
            assert verdict.interval is not None and verdict.p is not None
            covered += verdict.interval.holds(effect)
            rejected += verdict.p <= 0.05
        return covered / 500, rejected / 500

    covered, rejected = sweeps(0.0)
    assert 0.925 <= covered <= 0.975
    assert 0.03 <= rejected <= 0.07
    # A paired t test of 8 differences with SD s sees 1.156 s with 80 % power; s^2 is .015^2 + 2 x .2 x .8 / 1000.
    deviation = (0.015**2 + 2 * 0.2 * 0.8 / 1000) ** 0.5
    covered, found = sweeps(1.156 * deviation)
    assert 0.925 <= covered <= 0.975
    assert 0.72 <= found <= 0.87
