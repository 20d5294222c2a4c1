"""A win rate as it would be if both sides wrote equally long answers.

Source of the form: Dubois et al. 2024, "Length-Controlled AlpacaEval", arXiv 2404.04475. This is its model without the
terms that need other models' verdicts (instruction difficulty, gamed baselines), and is therefore called `lc_simple`,
never LC.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eva_data.statistics.bootstrap import DRAWS
from eva_data.statistics.interval import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RIDGE = 1e-2
"""Weight of the penalty on the length term, in prompts: it keeps separable data finite."""

STEPS = 25


def lc_simple(
    scores: NDArray[np.float64], ours: NDArray[np.float64], theirs: NDArray[np.float64], *, seed: int
) -> Interval | None:
    """The win rate at equal length, with a bootstrap interval over prompts of which every draw fits the model anew.

    `scores` is the solver's score of each prompt in [0, 1], `ours` and `theirs` the lengths of the answers in
    characters. The model is logit(score) = a + b tanh(d), with d the difference in length over its standard deviation;
    the result is sigmoid(a). None with fewer than 10 prompts, or where all differences in length are equal.
    """
    import numpy as np

    apart = ours - theirs
    spread = float(apart.std())
    if len(scores) < 10 or spread == 0:
        return None
    term = np.tanh(apart / spread)
    centre = _at_equal_length(scores[None, :], term[None, :])[0]
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(scores), size=(DRAWS, len(scores)))
    found = np.concatenate([_at_equal_length(scores[part], term[part]) for part in np.array_split(drawn, 20)])
    low, high = np.quantile(found, [0.025, 0.975])
    return Interval(float(centre), float(low), float(high), len(scores))


def _at_equal_length(scores: NDArray[np.float64], term: NDArray[np.float64]) -> NDArray[np.float64]:
    """sigmoid(a) of the model that is fitted to each row, by Newton's steps for all rows at once."""
    import numpy as np

    a, b = np.zeros(len(scores)), np.zeros(len(scores))
    for _ in range(STEPS):
        fitted = 1 / (1 + np.exp(-(a[:, None] + b[:, None] * term)))
        weight = fitted * (1 - fitted)
        error = scores - fitted
        gradient_a, gradient_b = error.sum(1) - RIDGE * a, (error * term).sum(1) - RIDGE * b
        aa = weight.sum(1) + RIDGE
        ab = (weight * term).sum(1)
        bb = (weight * term * term).sum(1) + RIDGE
        determinant = aa * bb - ab * ab
        step_a = (bb * gradient_a - ab * gradient_b) / determinant
        step_b = (aa * gradient_b - ab * gradient_a) / determinant
        a, b = np.clip(a + np.clip(step_a, -2, 2), -20, 20), np.clip(b + np.clip(step_b, -2, 2), -20, 20)
    return np.asarray(1 / (1 + np.exp(-a)))
