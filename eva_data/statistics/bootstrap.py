"""Bootstrap intervals over prompts, for figures without a formula: refitted models and unbounded means."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.interval import LEVEL, Floats, Interval, numbers, package, paired

DRAWS = 2000
"""The number of draws."""

MOST_WORTH = 100
"""A prompt can be worth several plain verdicts, because of ties and probabilities, but never so many."""


def drawn_counts(n: int, draws: int = DRAWS, seed: int = 0) -> npt.NDArray[np.int64]:
    """How often each of n prompts is in each draw: one row per draw. Every row sums to n."""
    generator = np.random.Generator(np.random.PCG64(seed))
    places = generator.integers(0, n, size=(draws, n))
    places += n * np.arange(draws)[:, None]
    return np.bincount(places.ravel(), minlength=draws * n).reshape(draws, n)


def drawn_means(values: npt.ArrayLike, draws: int = DRAWS, seed: int = 0) -> Floats:
    """The mean of each draw of the prompts. The values are sorted first, so the order of the rows does not matter."""
    found = np.sort(numbers(values, "values"))
    return np.asarray(drawn_counts(found.size, draws, seed) @ found / found.size, dtype=float)


def mean_difference(
    first: npt.ArrayLike, second: npt.ArrayLike, level: float = LEVEL, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The mean of `first - second` over the prompts, on a scale without bounds, by the studentised bootstrap.

    Each draw's mean is measured in the draw's standard errors (bootstrap-t; Efron and Tibshirani 1993, chapter 12).
    Unlike the normal interval, this follows skewed differences. Draws without spread are left out. If all differences
    are equal, the interval is a point. Raises DataError for fewer than two prompts. Use `rates.bounded_mean` for values
    with bounds.
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
    """The interval of a rate in [0, 1] that was computed in every draw, such as the length-controlled win rate.

    The spread of the draws tells how many plain verdicts the rate is worth: p (1 - p) / variance. Wilson's interval of
    so many verdicts stays in [0, 1] and is asymmetric near the ends, as it must be (Franco, Little, Louis and Slud 2019
    compare such intervals). A tiny spread is no sign of precision. It comes from a sample without a loss or without a
    win. So a rate that would be worth MOST_WORTH times n verdicts or more counts as n verdicts.
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
