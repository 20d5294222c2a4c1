"""Verifiable sets with several responses per prompt: pass@k and mean@k."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.interval import LEVEL, Floats, Interval, numbers, package
from eva_data.statistics.rates import bounded_mean


def pass_at_k(responses: npt.ArrayLike, correct: npt.ArrayLike, k: int, level: float = LEVEL) -> Interval:
    """The chance that at least one of k responses is correct: the unbiased estimator, averaged over the prompts.

    1 - C(n - c, k) / C(n, k) of n responses with c correct ones (Chen et al. 2021, arXiv 2107.03374, equation 1).
    `responses` and `correct` are n and c, one per prompt. Raises DataError if a prompt has fewer than k responses.
    """
    n, c = _counts(responses, correct)
    if k < 1 or n.min() < k:
        raise DataError(
            f"pass@{k} was asked for and a prompt has {int(n.min())} responses, k from 1 to that was expected: "
            "sample more responses or lower k"
        )
    logs = package("scipy.special").gammaln
    # C(n - c, k) / C(n, k) in logarithms, which do not overflow. It is 0 if fewer than k are wrong.
    wrong = np.maximum(n - c, k)
    ratio = np.exp(logs(wrong + 1) - logs(wrong - k + 1) - logs(n + 1) + logs(n - k + 1))
    return bounded_mean(np.clip(np.where(n - c < k, 1.0, 1 - ratio), 0, 1), 0, 1, None, level)


def mean_at_k(responses: npt.ArrayLike, correct: npt.ArrayLike, level: float = LEVEL) -> Interval:
    """The share of correct responses, averaged over the prompts. It is the expected mean of any k responses."""
    n, c = _counts(responses, correct)
    if n.min() < 1:
        raise DataError("a prompt has no responses, at least 1 was expected: leave the prompt out by name")
    return bounded_mean(c / n, 0, 1, None, level)


def _counts(responses: npt.ArrayLike, correct: npt.ArrayLike) -> tuple[Floats, Floats]:
    n, c = numbers(responses, "numbers of responses", 0), numbers(correct, "numbers of correct responses", 0)
    if n.shape != c.shape or (c > n).any():
        raise DataError(
            "a prompt has more correct responses than responses, or the two columns differ in length: "
            "give both numbers for every prompt"
        )
    return n, c
