"""Which differences a number of prompts can see, and how many prompts a difference needs.

The normal approximation of a two-sided test of a win rate of one half, with the largest variance that scores in [0, 1]
can have: ties and consistent verdicts make the truth a little better.
"""

from __future__ import annotations

import math

LEVEL, POWER = 0.05, 0.8


def detectable_win_rate(prompts: int) -> float:
    """The win rate above one half that so many prompts, at least 1, tell from one half 4 times of 5."""
    return min(0.5 + _reach() * 0.5 / math.sqrt(prompts), 1.0)


def prompts_needed(win_rate: float) -> int | None:
    """How many prompts tell this win rate from one half 4 times of 5; None where it is one half."""
    apart = abs(win_rate - 0.5)
    return math.ceil((_reach() * 0.5 / apart) ** 2) if apart > 1e-9 else None


def _reach() -> float:
    """Standard errors between zero and a difference that is found with that power."""
    from statistics import NormalDist

    return NormalDist().inv_cdf(1 - LEVEL / 2) + NormalDist().inv_cdf(POWER)
