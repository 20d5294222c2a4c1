"""Figures of prompts drawn again with replacement, for what has no formula: refitted models, unbounded means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.interval import LEVEL, Floats, Interval, numbers, package, paired

DRAWS = 2000
"""How many times the prompts are drawn."""

MOST_WORTH = 100
"""Ties and probabilities make a prompt worth more than one plain verdict, but never this many."""


def drawn_counts(n: int, draws: int = DRAWS, seed: int = 0) -> npt.NDArray[np.int64]:
    """How often each of n prompts is in each draw: one row per draw, every row sums to n."""
    generator = np.random.Generator(np.random.PCG64(seed))
    places = generator.integers(0, n, size=(draws, n))
    places += n * np.arange(draws)[:, None]
    return np.bincount(places.ravel(), minlength=draws * n).reshape(draws, n)


def drawn_means(values: npt.ArrayLike, draws: int = DRAWS, seed: int = 0) -> Floats:
    """The mean of each draw of the prompts. The values are sorted first: the order of the rows does not matter."""
    found = np.sort(numbers(values, "values"))
    return np.asarray(drawn_counts(found.size, draws, seed) @ found / found.size, dtype=float)


def mean_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The mean of `first - second` over the prompts, on a scale without bounds, by the studentised bootstrap.

    Each draw's mean is measured in its own standard errors (bootstrap-t; Efron and Tibshirani 1993, chapter 12),
    which follows skewed differences as the normal interval does not. Draws without spread are left out; where all
    differences are the same, the interval is a point. Raises DataError for fewer than two prompts. Values with
    bounds are better served by `rates.bounded_mean`.
    """
    one, other = paired(first, second, "values")
    found = np.sort(one - other)
    n = found.size
    if n < 2:
        raise DataError("1 pair of values was found, at least 2 were expected for an interval: evaluate more prompts")
    mean, error = float(found.mean()), float(found.std(ddof=1) / np.sqrt(n))
    if error == 0:
        return Interval(mean, mean, mean, n)
    counts = drawn_counts(n, draws, seed)
    means = counts @ found / n
    spread = counts @ np.square(found - mean) / n - np.square(means - mean)
    kept = spread > np.finfo(float).eps * error**2
    studentised = (means[kept] - mean) / np.sqrt(spread[kept] / (n - 1))
    lower, upper = np.quantile(studentised, [0.5 + level / 2, 0.5 - level / 2])
    return Interval(mean, float(mean - lower * error), float(mean - upper * error), n)


def rate_of_draws(estimate: float, drawn: npt.ArrayLike, n: int, level: float = LEVEL) -> Interval:
    """The interval of a rate in [0, 1] of which every draw gave a figure, as the length-controlled win rate.

    The spread of the draws says how many plain verdicts the rate is worth, p (1 - p) / variance, and Wilson's interval
    of so many verdicts stays in [0, 1] and is as lopsided as it must be near the ends (Franco, Little, Louis and Slud
    2019 compare such intervals). Draws that hardly spread are no sign of precision but of a sample without a loss, or
    without a win: from MOST_WORTH times n verdicts on they count as n.
    """
    found = numbers(drawn, "draws", 0, 1)
    (rate,) = numbers([estimate], "rates", 0, 1)
    variance = float(found.var(ddof=1)) if found.size > 1 else 0.0
    plain = rate * (1 - rate)
    worth = plain / variance if 0 < plain < MOST_WORTH * n * variance else float(n)
    low, high = package("statsmodels.stats.proportion").proportion_confint(
        rate * worth, worth, alpha=1 - level, method="wilson"
    )
    return Interval(float(rate), float(low), float(high), n)
