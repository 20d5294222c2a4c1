"""Tests and intervals of paired differences: prompts that both sides answered, or seeds that both arms ran."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.interval import LEVEL, Interval, numbers, package

RESAMPLES = 2**16
"""Up to so many sign patterns are all counted. Of more patterns, so many are drawn."""


def t_interval(differences: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """Student's interval of the mean of paired differences, for a few seeds. Raises DataError for fewer than two."""
    found = _several(differences)
    mean, error = float(found.mean()), float(found.std(ddof=1) / np.sqrt(found.size))
    half = error * float(package("scipy.special").stdtrit(found.size - 1, 0.5 + level / 2))
    return Interval(mean, mean - half, mean + half, found.size)


def sign_flip_p(differences: npt.ArrayLike, seed: int = 0) -> float:
    """The two-sided p value of a mean difference of 0: the share of sign flips that give a mean as far from 0.

    Differences of 0 do not matter and are left out. Up to 16 differences the value is exact. For more differences,
    65,536 flips are drawn, so no p value is below 1 / 65,537. For win rates the differences are `score - .5`.
    """
    found = np.sort(numbers(differences, "differences"))
    found = found[found != 0]
    if found.size < 2:
        return 1.0
    done = package("scipy.stats").permutation_test(
        (found,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=2**12,
        rng=np.random.Generator(np.random.PCG64(seed)),
    )
    return float(min(done.pvalue, 1.0))


def equivalence_p(differences: npt.ArrayLike, margin: float) -> float:
    """The p value of two one-sided t tests (TOST; Schuirmann 1987): small if the mean is surely within +-margin.

    Raises DataError for fewer than two differences, and for a margin that is not above 0.
    """
    found = _several(differences)
    if not margin > 0:
        raise DataError(
            f"the margin is {margin:g}, a number above 0 was expected: say which difference does not matter"
        )
    error = float(found.std(ddof=1) / np.sqrt(found.size))
    nearest = margin - abs(float(found.mean()))
    if error == 0:
        return 0.0 if nearest > 0 else 1.0
    return float(package("scipy.special").stdtr(found.size - 1, -nearest / error))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p values of several comparisons, adjusted so that a false claim among them is rare (Holm 1979)."""
    if not p_values:
        return {}
    found = numbers(list(p_values.values()), "p values", 0, 1)
    adjusted = package("statsmodels.stats.multitest").multipletests(found, method="holm")[1]
    return dict(zip(p_values, map(float, adjusted), strict=True))


def _several(differences: npt.ArrayLike) -> npt.NDArray[np.float64]:
    found = numbers(differences, "differences")
    if found.size < 2:
        raise DataError("1 difference was found, at least 2 were expected: run more seeds")
    return found
