"""Logistic regression with targets between 0 and 1 and row weights, many fits at once: one per draw of a bootstrap.

The method is Newton's. With an L1 penalty, each step is solved by coordinate descent (Friedman, Hastie and Tibshirani
2010). Libraries fit one problem at a time and take hard labels, which is too slow for 2,000 refits of a few thousand
rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from eva_data.statistics.interval import Floats

STEPS, SWEEPS, HALVINGS = 100, 200, 30
TOLERANCE = 1e-6
"""The size of the last step. Newton's error after it is about its square."""


def fit(
    features: Sequence[Floats],
    targets: Floats,
    weights: Floats,
    l1: float = 0.0,
    l2: float = 0.0,
    start: Floats | None = None,
) -> Floats:
    """The coefficients that minimise sum w * cross entropy + l1 * sum |b| + l2 / 2 * sum b^2: one row per fit.

    `features` has one array per coefficient, with the shape rows or fits x rows. `weights` has the shape fits x rows,
    and `targets` has one value per row. A feature of ones is the intercept. It is penalised like any other feature.
    Without a penalty, the coefficients of separable targets grow until the last step.
    """
    fits = weights.shape[0]
    found = np.zeros((fits, len(features))) if start is None else np.array(np.broadcast_to(start, (fits, len(start))))
    active = np.arange(fits)
    loss, p = _looked_at(features, targets, weights, found, l1, l2)
    for _ in range(STEPS):
        now, w, x = found[active], weights[active], [_of(each, active) for each in features]
        off = w * (p[active] - targets)
        bend = w * p[active] * (1 - p[active])
        slope = np.stack([_product(off, each) for each in x], axis=1) + l2 * now
        curved = np.empty((len(active), len(x), len(x)))
        for row in range(len(x)):
            bent = bend * x[row]
            for column in range(row + 1):
                curved[:, row, column] = curved[:, column, row] = _product(bent, x[column])
        curved[:, range(len(x)), range(len(x))] += l2 + 1e-10
        step = _step(now, slope, curved, l1)
        after, p[active] = _looked_at(x, targets, w, now + step, l1, l2)
        for _ in range(HALVINGS):
            worse = np.flatnonzero(after > loss[active] + 1e-12 * np.abs(loss[active]))
            if not worse.size:
                break
            step[worse] /= 2
            nearer = now[worse] + step[worse]
            after[worse], p[active[worse]] = _looked_at(
                [_of(each, worse) for each in x], targets, w[worse], nearer, l1, l2
            )
        found[active], loss[active] = now + step, after
        active = active[np.abs(step).max(axis=1) > TOLERANCE * (1 + np.abs(now).max(axis=1))]
        if not active.size:
            break
    return found


def probability(logits: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    return np.asarray(0.5 * (1 + np.tanh(logits / 2)))


def cross_entropy(logits: Floats, targets: Floats) -> Floats:
    """-(y log p + (1 - y) log(1 - p)) of p = 1 / (1 + exp(-x)), row by row."""
    return np.asarray(np.logaddexp(0, logits) - targets * logits)


def _looked_at(
    features: Sequence[Floats], targets: Floats, weights: Floats, at: Floats, l1: float, l2: float
) -> tuple[Floats, Floats]:
    """The penalised loss of every fit, and the probability of every row in it."""
    logits = np.zeros(weights.shape)
    for place, each in enumerate(features):
        logits += each * at[:, place : place + 1]
    small = np.exp(-np.abs(logits))
    rows = np.log1p(small) + np.maximum(logits, 0) - targets * logits
    penalty = l1 * np.abs(at).sum(axis=1) + l2 / 2 * np.square(at).sum(axis=1)
    return _product(weights, rows) + penalty, np.where(logits >= 0, 1, small) / (1 + small)


def _of(feature: Floats, fits: npt.NDArray[np.intp]) -> Floats:
    """The feature in these fits. A feature without a row per fit is the same in all fits."""
    return feature if feature.ndim == 1 else feature[fits]


def _product(one: Floats, other: Floats) -> Floats:
    """The sum over the rows of a product, fit by fit."""
    return np.asarray(one @ other if other.ndim == 1 else np.einsum("bn,bn->b", one, other))


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
