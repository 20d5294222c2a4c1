"""Compares arms over seeds. A training is the unit of analysis, so tests pair the arms by seed.

Intervals are Student's on the seed-paired differences: a percentile bootstrap over a handful of seeds covers too
little. The test flips signs exactly. Several comparisons are corrected by Holm's method, and equivalence is claimed
only by two one-sided tests with a margin that was named beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from eva_data.experiments.design import Design
from eva_data.experiments.outcomes import deciding
from eva_data.statistics.differences import equivalence_p, holm, sign_flip_p, t_interval
from eva_data.statistics.interval import Floats, Interval, package

ALPHA = 0.05
"""The chance of a false claim in the whole sweep."""
FEWEST_SEEDS = 5
"""Fewer seeds get no interval: Student's needs a standard deviation that is known better than this."""
DRAWS = 1_000
"""Draws of the crossed bootstrap."""

Word = Literal["better", "worse", "higher", "lower", "equivalent", "not distinguishable", "descriptive only"]


_NEUTRAL: Mapping[Word, Word] = {"better": "higher", "worse": "lower"}


@dataclass(frozen=True)
class Contrast:
    """What a sweep says of two arms. Differences are first minus second, in the units of the score."""

    first: str
    second: str
    seeds: int
    """Seeds with which both arms were played to the end."""
    difference: float | None
    """The mean over seeds; None without a common seed."""
    interval: Interval | None
    """At 95 %; None for fewer than five seeds."""
    p: float | None
    """Of no difference, by exact sign flips, after Holm's correction; None for fewer than two seeds."""
    equivalence: float | None
    """Of a difference beyond the margin (TOST); None without a margin or for fewer than five seeds."""
    visible: float | None
    """The smallest difference that so many seeds would show with 80 % power; None for fewer than five seeds."""
    word: Word
    sentence: str


def smallest_p(seeds: int, comparisons: int) -> float:
    """The smallest two-sided p value that sign flips can give after Holm's correction: comparisons x 2 / 2^seeds."""
    return min(1.0, comparisons * 2.0 / 2.0**seeds)


def is_descriptive(seeds: int, comparisons: int) -> bool:
    """Whether no result at all could be significant."""
    return smallest_p(seeds, comparisons) > ALPHA


def seeds_needed(comparisons: int) -> int:
    """The fewest seeds with which a comparison can be significant."""
    return next(n for n in range(1, 64) if not is_descriptive(n, comparisons))


def compare(design: Design, values: pl.DataFrame) -> list[Contrast]:
    """The verdict on every comparison of the design; `values` has one row per (arm, seed) with its `value`."""
    found = {pair: _differences(values, *pair) for pair in design.compare}
    raw = {"|".join(pair): sign_flip_p(each) for pair, each in found.items() if each.size > 1}
    adjusted = holm(raw)
    return [
        _verdict(design, pair, each, adjusted.get("|".join(pair)), len(design.compare)) for pair, each in found.items()
    ]


def _differences(values: pl.DataFrame, first: str, second: str) -> Floats:
    """First minus second, of every seed that both have."""
    both = (
        values.filter(pl.col("arm") == first)
        .join(values.filter(pl.col("arm") == second), on="seed", suffix="_second")
        .sort("seed")
    )
    return (both["value"] - both["value_second"]).to_numpy().astype(np.float64)


def _verdict(design: Design, pair: tuple[str, str], found: Floats, p: float | None, comparisons: int) -> Contrast:
    n = int(found.size)
    difference = float(found.mean()) if n else None
    interval = t_interval(found) if n >= FEWEST_SEEDS else None
    margin = design.margin
    equivalence = equivalence_p(found, margin) if n >= FEWEST_SEEDS and margin is not None else None
    visible = _visible(found, comparisons) if n >= FEWEST_SEEDS else None
    word = _word(difference, p, equivalence, descriptive=is_descriptive(n, comparisons))
    if design.primary.measure != "score":
        # More of another measure is not better.
        word = _NEUTRAL.get(word, word)
    sentence = _sentence(design, pair, n, difference, interval, word, comparisons)
    return Contrast(*pair, n, difference, interval, p, equivalence, visible, word, sentence)


def _word(difference: float | None, p: float | None, equivalence: float | None, *, descriptive: bool) -> Word:
    if descriptive or difference is None or p is None:
        return "descriptive only"
    if p <= ALPHA:
        return "better" if difference > 0 else "worse"
    if equivalence is not None and equivalence <= ALPHA:
        return "equivalent"
    return "not distinguishable"


def _visible(found: Floats, comparisons: int) -> float | None:
    """By the power of the paired t test at the corrected level, with the standard deviation of these differences."""
    deviation = float(found.std(ddof=1))
    if deviation == 0:
        return None
    power = package("statsmodels.stats.power").TTestPower()
    effect = power.solve_power(nobs=found.size, alpha=ALPHA / comparisons, power=0.8, alternative="two-sided")
    return float(effect) * deviation


def _sentence(
    design: Design,
    pair: tuple[str, str],
    n: int,
    difference: float | None,
    interval: Interval | None,
    word: Word,
    comparisons: int,
) -> str:
    first, second = pair
    if difference is None:
        return f"No seed has both {first} and {second} to the end, so nothing is said of them."
    points = f"{100 * difference:+z.1f} points over {n} seed{'s' if n != 1 else ''}"
    ends = f" (95 %: {100 * interval.low:+z.1f} to {100 * interval.high:+z.1f})" if interval is not None else ""
    match word:
        case "descriptive only":
            many = f"{comparisons} comparison{'s' if comparisons != 1 else ''}"
            return (
                f"{first} against {second}: {points}{ends}; descriptive only, since {n} seed{'s' if n != 1 else ''} "
                f"cannot give a significant result in {many}, {seeds_needed(comparisons)} could."
            )
        case "equivalent":
            assert design.margin is not None
            return f"{first} and {second} are equivalent within {100 * design.margin:g} points: {points}{ends}."
        case "not distinguishable":
            return f"{first} and {second} are not distinguishable at this size: {points}{ends}."
        case _:
            return f"{first} is {word} than {second}: {points}{ends}."


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the mean difference of two arms, by what was drawn again."""

    seeds: float
    prompts: float
    both: float


def spread(design: Design, scores: pl.DataFrame, first: str, second: str) -> Spread | None:
    """How much of a difference's noise comes from seeds and how much from the evaluated prompts.

    A crossed bootstrap (Owen 2007) over seeds and prompts, for these components only. None unless at least two seeds
    have both arms on the same prompts.
    """
    chosen = deciding(design, scores)
    wide = (
        chosen.filter(pl.col("arm") == first)
        .join(chosen.filter(pl.col("arm") == second), on=("seed", "prompt_id"), suffix="_second")
        .with_columns(difference=pl.col("score") - pl.col("score_second"))
        .pivot("seed", index="prompt_id", values="difference")
        .drop("prompt_id")
        .drop_nulls()
    )
    if wide.width < 2 or wide.height < 2:
        return None
    matrix = wide.to_numpy()
    rng = np.random.Generator(np.random.PCG64(0))
    prompts = rng.multinomial(wide.height, np.full(wide.height, 1 / wide.height), size=DRAWS) / wide.height
    seeds = rng.multinomial(wide.width, np.full(wide.width, 1 / wide.width), size=DRAWS) / wide.width
    by_seed, by_prompt = matrix.mean(axis=0), matrix.mean(axis=1)
    both = np.einsum("dp,ps,ds->d", prompts, matrix, seeds, optimize=True)
    return Spread(*(float(drawn.std(ddof=1)) for drawn in (seeds @ by_seed, prompts @ by_prompt, both)))
