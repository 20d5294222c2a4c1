"""How far two judges agree beyond chance, and how many independent judges a panel is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.interval import numbers, package


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa of two judges' verdicts on the same prompts: 1 is full agreement, 0 is agreement by chance.

    None if both judges always give the same single verdict, because kappa is undefined then. Raises DataError for no
    prompts and for columns of different lengths.
    """
    if len(first) != len(second) or not first:
        raise DataError(
            f"{len(first)} and {len(second)} verdicts were found, as many from both judges and at least 1 were "
            "expected: join the verdicts by prompt"
        )
    labels = sorted({*first, *second})
    if len(labels) < 2:
        return None
    places = {label: place for place, label in enumerate(labels)}
    pairs = np.array([[places[one], places[other]] for one, other in zip(first, second, strict=True)])
    table = np.zeros((len(labels), len(labels)))
    np.add.at(table, (pairs[:, 0], pairs[:, 1]), 1)
    return float(package("statsmodels.stats.inter_rater").cohens_kappa(table, return_results=False))


def effective_judges(scores: npt.ArrayLike) -> float | None:
    """How many independent judges a panel is worth: k / (1 + (k - 1) r), r the mean correlation of two judges.

    This is Kish's design effect: judges that agree in everything, errors included, count as one judge. `scores` has a
    row per judge and a column per prompt. The result is at most k, even if judges contradict each other. None if a
    judge gives every prompt the same score, because the correlation is undefined. Judges that see the same quality are
    correlated too, so the figure is a lower bound.
    """
    found = numbers(scores, "scores")
    if found.ndim != 2 or found.shape[1] < 2:
        raise DataError("the scores are no table of judges by prompts with at least 2 prompts: give a row per judge")
    k = found.shape[0]
    if (np.ptp(found, axis=1) == 0).any():
        return None
    if k == 1:
        return 1.0
    correlations = np.corrcoef(found)
    r = float((correlations.sum() - k) / (k * (k - 1)))
    return float(min(k, k / max(1 + (k - 1) * r, np.finfo(float).eps)))
