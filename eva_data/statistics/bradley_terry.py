"""Strengths of several models from pairwise verdicts, also at equal style."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError
from eva_data.statistics.bootstrap import DRAWS, drawn_counts, rate_of_draws
from eva_data.statistics.interval import LEVEL, Floats, Interval, numbers
from eva_data.statistics.logistic import fit, probability

RIDGE = 1e-3
"""A small penalty. It keeps the strength of a model without a loss finite, and hardly moves the other strengths."""

AT_ONCE = 50


@dataclass(frozen=True)
class Strengths:
    """The strength of every model against the anchor, and the effect of every covariate."""

    strength: dict[str, float]
    """Log odds against the anchor, whose strength is 0."""
    win_rate: dict[str, Interval]
    """Model -> chance to be preferred to the anchor at equal covariates. The anchor itself is left out."""
    covariates: tuple[float, ...]
    """The change of the log odds with one unit of each covariate."""


def bradley_terry(
    first: Sequence[str],
    second: Sequence[str],
    scores: npt.ArrayLike,
    prompts: Sequence[Hashable],
    anchor: str,
    covariates: npt.ArrayLike | None = None,
    *,
    weights: npt.ArrayLike | None = None,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Strengths:
    """Bradley and Terry's (1952) model as a logistic regression, one row per verdict on `first` against `second`.

    `scores` are 1 if `first` is preferred, 0 if `second` is preferred, and .5 for a tie, which counts as half a win of
    each, as in Arena-Hard and Chatbot Arena. `covariates` are differences of style, one row per verdict
    (`style.differences`). Their effect is removed from the strengths. `weights` say how many verdicts a row counts for.
    Arena-Hard's strong verdicts count for three. The bootstrap draws prompts with all their verdicts, because both
    orders of a prompt are not two prompts. Raises DataError if the anchor is in no verdict or columns differ in length.
    """
    won = numbers(scores, "scores", 0, 1)
    counted = np.ones(won.size) if weights is None else numbers(weights, "weights", 0)
    if not len(first) == len(second) == len(prompts) == won.size == counted.size:
        raise DataError("the columns of the verdicts differ in length: give one row per verdict")
    names = sorted({*first, *second} - {anchor})
    if len(names) == len({*first, *second}):
        raise DataError(f"the anchor `{anchor}` is in no verdict: name one of {', '.join(names)}")
    design = _design(first, second, names)
    if covariates is not None:
        style = numbers(covariates, "covariates").reshape(won.size, -1)
        design = np.concatenate([design, style], axis=1)
    columns = list(np.ascontiguousarray(design.T))
    found = fit(columns, won, counted[None], l2=RIDGE)[0]
    known = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    place = np.array([known[prompt] for prompt in prompts])
    counts = drawn_counts(len(known), draws, seed).astype(float)[:, place] * counted
    parts = np.array_split(counts, max(1, -(-draws // AT_ONCE)))
    again = probability(np.concatenate([fit(columns, won, part, l2=RIDGE, start=found) for part in parts]))
    rates = probability(found)
    return Strengths(
        strength={anchor: 0.0} | {name: float(found[at]) for at, name in enumerate(names)},
        win_rate={
            name: rate_of_draws(float(rates[at]), again[:, at], len(known), level) for at, name in enumerate(names)
        },
        covariates=tuple(map(float, found[len(names) :])),
    )


def _design(first: Sequence[str], second: Sequence[str], names: list[str]) -> Floats:
    """1 for the first model, -1 for the second; the anchor has no column."""
    column = {name: place for place, name in enumerate(names)}
    rows = np.zeros((len(first), len(names) + 1))
    every = np.arange(len(first))
    rows[every, [column.get(name, -1) for name in first]] += 1
    rows[every, [column.get(name, -1) for name in second]] -= 1
    return rows[:, :-1]
