"""Logistic regression with targets between 0 and 1 and row weights, many fits at once: one per draw of a bootstrap.

Newton's method; with an L1 penalty each step is solved by coordinate descent (Friedman, Hastie and Tibshirani 2010).
Libraries fit one problem at a time and take hard labels, which 2,000 refits of a few thousand rows cannot wait for.
"""

from __future__ import annotations

import numpy as np

from eva_data.statistics.interval import Floats

STEPS, SWEEPS, HALVINGS = 100, 200, 30
TOLERANCE = 1e-9


def fit(
    features: Floats,
    targets: Floats,
    weights: Floats,
    l1: float = 0.0,
    l2: float = 0.0,
    start: Floats | None = None,
) -> Floats:
    """The coefficients that minimise sum w * cross entropy + l1 * sum |b| + l2 / 2 * sum b^2: one row per fit.

    `features` are rows by columns, or fits by rows by columns; `weights` are fits by rows; `targets` are one per row.
    A column of ones is the intercept, penalised like any other. Without a penalty, targets that a line separates drive
    the coefficients up until the steps end.
    """
    fits = weights.shape[0]
    design = np.broadcast_to(features, (fits, *features.shape[-2:]))
    found = np.zeros((fits, design.shape[2])) if start is None else np.array(np.broadcast_to(start, (fits, len(start))))
    active = np.arange(fits)
    loss = _loss(design, targets, weights, found, l1, l2)
    for _ in range(STEPS):
        now, x, w = found[active], design[active], weights[active]
        p = probability(np.einsum("bnp,bp->bn", x, now))
        slope = np.einsum("bnp,bn->bp", x, w * (p - targets)) + l2 * now
        curved = x.transpose(0, 2, 1) @ (x * (w * p * (1 - p))[:, :, None])
        curved[:, range(x.shape[2]), range(x.shape[2])] += l2 + 1e-10
        step = _step(now, slope, curved, l1)
        scale = np.ones(len(active))
        after = _loss(x, targets, w, now + step, l1, l2)
        for _ in range(HALVINGS):
            worse = after > loss[active] + 1e-12 * np.abs(loss[active])
            if not worse.any():
                break
            scale[worse] /= 2
            after[worse] = _loss(x[worse], targets, w[worse], now[worse] + scale[worse, None] * step[worse], l1, l2)
        moved = scale[:, None] * step
        found[active], loss[active] = now + moved, after
        active = active[np.abs(moved).max(axis=1) > TOLERANCE * (1 + np.abs(now).max(axis=1))]
        if not active.size:
            break
    return found


def probability(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))


def cross_entropy(logits: Floats, targets: Floats) -> Floats:
    """-(y log p + (1 - y) log(1 - p)) of p = 1 / (1 + exp(-x)), row by row."""
    return np.asarray(np.logaddexp(0, logits) - targets * logits)


def _loss(design: Floats, targets: Floats, weights: Floats, found: Floats, l1: float, l2: float) -> Floats:
    rows = cross_entropy(np.einsum("bnp,bp->bn", design, found), targets)
    penalty = l1 * np.abs(found).sum(axis=1) + l2 / 2 * np.square(found).sum(axis=1)
    return np.asarray((weights * rows).sum(axis=1) + penalty)


def _step(now: Floats, slope: Floats, curved: Floats, l1: float) -> Floats:
    """The step to the minimum of the quadratic model of the loss plus the L1 penalty."""
    if l1 == 0:
        return np.asarray(-np.linalg.solve(curved, slope[:, :, None])[:, :, 0])
    step = np.zeros_like(now)
    for _ in range(SWEEPS):
        before = step.copy()
        for column in range(now.shape[1]):
            own = curved[:, column, column]
            rest = slope[:, column] + np.einsum("bp,bp->b", curved[:, column], step) - own * step[:, column]
            aim = own * now[:, column] - rest
            step[:, column] = np.sign(aim) * np.maximum(np.abs(aim) - l1, 0) / own - now[:, column]
        if np.abs(step - before).max() <= TOLERANCE / 10:
            break
    return step
