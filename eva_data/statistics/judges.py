"""How far two judges agree beyond chance, and how many independent judges a panel is worth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.interval import numbers, package


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa of two judges' verdicts on the same prompts: 1 agreement, 0 what chance would give.

    None where both give one and the same verdict always, which says nothing. Raises DataError for no prompts and for
    columns of different lengths.
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

    This is Kish's design effect: judges who agree in everything, errors included, count as one. `scores` has a row per
    judge and a column per prompt; at most k, also where judges contradict one another. None where a judge gives every
    prompt the same score, since the correlation is undefined. Quality that all judges see correlates them too: the
    figure is a lower bound.
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
