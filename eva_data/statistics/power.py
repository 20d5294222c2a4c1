"""How small a difference a number of prompts can show, and how many prompts a difference needs."""

from __future__ import annotations

import math

from eva_data.errors import DataError
from eva_data.statistics.interval import LEVEL, package

POWER = 0.8
"""The chance of seeing the difference where it is real."""

LARGEST_DEVIATION = 0.5
"""The standard deviation of win rates when every verdict is a win or a loss and both are as likely: the worst case."""


def smallest_difference(
    n: int, deviation: float = LARGEST_DEVIATION, power: float = POWER, level: float = LEVEL, comparisons: int = 1
) -> float:
    """The smallest mean difference that n prompts show with this power, in the units of `deviation`.

    (z_{1 - alpha / 2} + z_power) * deviation / sqrt(n), alpha divided by the number of comparisons; of paired
    differences per prompt, `deviation` is their standard deviation.
    """
    if n < 1:
        raise DataError(f"{n} prompts were found, at least 1 was expected: set prompts aside for evaluation")
    return _both(power, level, comparisons) * deviation / math.sqrt(n)


def prompts_needed(
    difference: float,
    deviation: float = LARGEST_DEVIATION,
    power: float = POWER,
    level: float = LEVEL,
    comparisons: int = 1,
) -> int | None:
    """How many prompts show a mean difference of this size with this power; None where the difference is 0."""
    if difference == 0:
        return None
    return math.ceil((_both(power, level, comparisons) * deviation / abs(difference)) ** 2 - 1e-9)


def _both(power: float, level: float, comparisons: int) -> float:
    ndtri = package("scipy.special").ndtri
    return float(ndtri(1 - (1 - level) / 2 / comparisons) + ndtri(power))
