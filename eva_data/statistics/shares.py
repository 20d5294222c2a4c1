"""Shares of prompts with Wilson's interval, such as a judge's flips and its preference for a position."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.interval import LEVEL, Interval, numbers, package, paired
from eva_data.statistics.rates import bounded_mean


def share(successes: int, n: int, level: float = LEVEL) -> Interval:
    """The share `successes` / n with Wilson's interval. Raises DataError if n is 0."""
    if n < 1 or not 0 <= successes <= n:
        raise DataError(f"{successes} of {n} were found, some of at least 1 were expected: look what was counted")
    low, high = package("statsmodels.stats.proportion").proportion_confint(
        successes, n, alpha=1 - level, method="wilson"
    )
    return Interval(successes / n, float(low), float(high), n)


def flip_rate(shown_first: npt.ArrayLike, shown_second: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The share of prompts whose verdict changes with the order.

    Both columns hold the score of the same side, with its response shown first or second. A verdict is the side that
    the score prefers, or a tie. A win that becomes a tie is a flip. Another probability of a win is no flip.
    """
    one, other = _scores(shown_first, shown_second)
    return share(int((np.sign(one - 0.5) != np.sign(other - 0.5)).sum()), one.size, level)


def first_position_share(shown_first: npt.ArrayLike, shown_second: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The share of verdicts for the response that was shown first. Ties count half, so a fair judge has .5.

    The two verdicts of a prompt depend on each other, so the interval is over prompts (`rates.bounded_mean`), not over
    verdicts.
    """
    one, other = _scores(shown_first, shown_second)
    return bounded_mean((one + 1 - other) / 2, 0, 1, None, level)


def _scores(
    shown_first: npt.ArrayLike, shown_second: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    return paired(numbers(shown_first, "scores", 0, 1), numbers(shown_second, "scores", 0, 1), "scores")
