"""Intervals of means, shares and paired differences over prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DRAWS = 2000
"""Bootstrap draws of an interval."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float
    n: int
    """How many prompts, or verdicts, it rests on."""


def share(count: int, total: int) -> Interval:
    """The share of `count` in `total`, at least 1, with Wilson's interval."""
    from scipy.stats import binomtest

    found = binomtest(count, total).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(count / total, float(found.low), float(found.high), total)


def mean(values: NDArray[np.float64], *, seed: int, lowest: float = 0.0, highest: float = 1.0) -> Interval:
    """The mean of at least one value from `lowest` to `highest`, one per prompt, with its bootstrap interval.

    The interval is the bias-corrected and accelerated one of 2,000 seeded draws (Efron 1987). Where it is degenerate,
    because all values are equal, Wilson's interval of the same mean on the scale stands for it.
    """
    scaled = (values - lowest) / (highest - lowest)
    centre = float(scaled.mean())
    low, high = _bootstrapped(scaled, seed) or _wilson(centre, len(values))
    width = highest - lowest
    return Interval(float(values.mean()), lowest + width * max(low, 0.0), lowest + width * min(high, 1.0), len(values))


def difference(ours: NDArray[np.float64], theirs: NDArray[np.float64], *, seed: int) -> tuple[Interval, float]:
    """The mean of `ours - theirs`, prompt by prompt, with its interval, and the p value of a sign-flip test of zero."""
    import numpy as np
    from scipy.stats import permutation_test

    apart = ours - theirs
    centre = float(apart.mean())
    if not np.any(apart != apart[0]):
        # With every difference alike there is nothing to draw from.
        certain = bool(apart[0] != 0) and len(apart) > 5
        return Interval(centre, centre, centre, len(apart)), 2.0 ** (1 - len(apart)) if certain else 1.0
    low, high = _bootstrapped(apart, seed) or (centre, centre)
    tested = permutation_test(
        (ours, theirs),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(seed),
    )
    return Interval(centre, low, high, len(apart)), float(tested.pvalue)


def _bootstrapped(values: NDArray[np.float64], seed: int) -> tuple[float, float] | None:
    """The ends of the interval of a mean; None where the values do not differ."""
    import numpy as np
    from scipy.stats import bootstrap

    if len(values) < 2 or not np.any(values != values[0]):
        return None
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=DRAWS,
        confidence_level=CONFIDENCE,
        method="BCa",
        batch=200,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _wilson(centre: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share that need not be a count over n."""
    from scipy.stats import norm

    z2 = float(norm.ppf(0.5 + CONFIDENCE / 2)) ** 2
    middle = (centre + z2 / (2 * n)) / (1 + z2 / n)
    half = (z2 * (centre * (1 - centre) / n + z2 / (4 * n * n))) ** 0.5 / (1 + z2 / n)
    return middle - half, middle + half
