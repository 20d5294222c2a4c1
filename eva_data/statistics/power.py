"""The smallest difference that a number of prompts can show, and the number of prompts that a difference needs."""

from __future__ import annotations

import math

from eva_data.errors import DataError
from eva_data.statistics.interval import LEVEL, package

POWER = 0.8
"""The chance to see a real difference."""

LARGEST_DEVIATION = 0.5
"""The standard deviation of verdicts in the worst case: wins and losses only, both equally likely."""


def smallest_difference(
    n: int, deviation: float = LARGEST_DEVIATION, power: float = POWER, level: float = LEVEL, comparisons: int = 1
) -> float:
    """The smallest mean difference that n prompts show with this power, in the units of `deviation`.

    (z_{1 - alpha / 2} + z_power) * deviation / sqrt(n). Alpha is divided by the number of comparisons. For paired
    differences, `deviation` is the standard deviation of the differences per prompt.
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
    """The number of prompts that show a mean difference of this size with this power. None if the difference is 0."""
    if difference == 0:
        return None
    return math.ceil((_both(power, level, comparisons) * deviation / abs(difference)) ** 2 - 1e-9)


def _both(power: float, level: float, comparisons: int) -> float:
    ndtri = package("scipy.special").ndtri
    return float(ndtri(1 - (1 - level) / 2 / comparisons) + ndtri(power))
