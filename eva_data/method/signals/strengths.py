"""Strengths of the responses to prompts from comparisons, by Bradley and Terry's model (1952), many prompts at once.

A response that wins every comparison has no finite maximum of the likelihood, and the few comparisons of a prompt often
hold such a response. So each response also ties PRIOR times with an imagined response of strength 0, which keeps every
strength finite. More comparisons outweigh it.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

PRIOR = 1.0
"""Comparisons of each response with an imagined response of strength 0, all of them ties."""

NEWTON_STEPS, LONGEST_STEP, CLOSE_ENOUGH = 200, 1.0, 1e-12

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]


def strengths(wins: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Strength and standard error of each of n responses to each of P prompts, as arrays of shape (P, n).

    `wins[p, i, j]` is how often i won against j, at least 0; a tie is half a win of each. Strengths are natural log
    odds: a response with the strength s wins against the mean response with the probability 1 / (1 + exp(-s)). Those of
    a prompt sum to 0. The standard error is that of this difference to the mean, from the curvature of the likelihood
    with the imagined ties. Both are NaN for responses that no chain of comparisons links with the largest group of
    responses that are so linked (of equal groups, the one with the lowest index), and for all where no two are linked.
    """
    won = np.asarray(wins, dtype=np.float64)
    linked = _largest_group(won)
    games = won + won.transpose(0, 2, 1)
    theta = _fit(won, games)
    hessian = _hessian(games, theta)
    # A group's strengths are those against its own mean.
    members = linked.astype(np.float64)
    size = np.maximum(members.sum(axis=1, keepdims=True), 1)
    centre = np.eye(won.shape[1])[None] * members[:, :, None] - members[:, :, None] * (members / size)[:, None, :]
    covariance = centre @ np.linalg.inv(hessian) @ centre.transpose(0, 2, 1)
    centred = (centre @ theta[:, :, None])[:, :, 0]
    error = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    return np.where(linked, centred, np.nan), np.where(linked, error, np.nan)


def _largest_group(won: Floats) -> Flags:
    """Which responses belong to the largest group that comparisons link; none of a prompt without comparisons."""
    count = won.shape[1]
    reached = (won + won.transpose(0, 2, 1) > 0) | np.eye(count, dtype=bool)
    for _ in range(max(1, (count - 1).bit_length())):
        reached = (reached.astype(np.float64) @ reached.astype(np.float64)) > 0
    sizes = reached.sum(axis=2)
    best = sizes.argmax(axis=1)
    group: Flags = reached[np.arange(len(won)), best]
    linked: Flags = group & (sizes.max(axis=1, keepdims=True) > 1)
    return linked


def _chance(log_odds: Floats) -> Floats:
    found: Floats = 0.5 * (1 + np.tanh(log_odds / 2))
    return found


def _hessian(games: Floats, theta: Floats) -> Floats:
    """The curvature of the negative log-likelihood with the imagined ties; positive definite."""
    chance = _chance(theta[:, :, None] - theta[:, None, :])
    curvature = games * chance * (1 - chance)
    own = _chance(theta)
    diagonal = curvature.sum(axis=2) + PRIOR * own * (1 - own)
    found: Floats = np.eye(theta.shape[1])[None] * diagonal[:, :, None] - curvature
    return found


def _fit(won: Floats, games: Floats) -> Floats:
    """The strengths of the largest posterior, by Newton's method with bounded steps. The likelihood is concave."""
    theta = np.zeros(won.shape[:2])
    for _ in range(NEWTON_STEPS):
        expected = games * _chance(theta[:, :, None] - theta[:, None, :])
        gradient = (won - expected).sum(axis=2) + PRIOR * (0.5 - _chance(theta))
        step = np.linalg.solve(_hessian(games, theta), gradient[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True, initial=0.0)
        theta = theta + step * np.minimum(1, LONGEST_STEP / np.maximum(longest, LONGEST_STEP))
        if longest.size == 0 or longest.max() < CLOSE_ENOUGH:
            break
    return theta
