"""Novelty and diversity of the prompts of an iteration, by distances between vectors of length 1.

The distance of two prompts is 1 minus the cosine of their vectors: 0 for equal directions, 1 for nothing in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eva_data.method.topics.words import Vectors

NEAR = 0.05
"""Prompts at most this far apart are near-duplicates."""
COLLAPSE = 0.7
"""An iteration collapses if its effective number of prompts is below this share of the first iteration's number."""
REPEATING = 0.2
"""An iteration collapses if its share of near-duplicates exceeds the first iteration's share by this much."""
_ROWS = 2_000
"""The number of rows of a distance matrix in memory."""


@dataclass(frozen=True)
class Diversity:
    """The diversity of the sampled prompts of one iteration."""

    iteration: int
    prompts: int
    novelty: float | None
    """Mean distance of new prompts to the nearest prompt of earlier iterations. None without new or earlier prompts."""
    novelty_error: float | None
    """The standard error of the novelty."""
    lineages: int
    """The number of seeds that they come from."""
    nearest: float | None
    """Mean distance to the nearest prompt of another seed in the same iteration. None without such prompts."""
    near_duplicates: float | None
    """Share of the prompts with a distance of at most NEAR to such a prompt."""
    effective: float | None
    """The Vendi score of one prompt per seed, over the same number of seeds in each iteration."""


def diversities(
    vectors: Vectors, iterations: NDArray[np.int64], ids: Sequence[str], roots: Sequence[str]
) -> list[Diversity]:
    """The diversity of each iteration, in ascending order. Rows are prompts, ordered by iteration and id, a hash.

    Prompts of one seed are similar by design, so only prompts of different seeds are compared.
    """
    names, seeds = np.asarray(ids), np.unique(np.asarray(roots), return_inverse=True)[1]
    first_of = {each: np.unique(seeds[iterations == each], return_index=True)[1] for each in np.unique(iterations)}
    equal = min(map(len, first_of.values()), default=0)
    found = []
    for iteration, firsts in first_of.items():
        here, before = vectors[iterations == iteration], vectors[iterations < iteration]
        new = here[~np.isin(names[iterations == iteration], names[iterations < iteration])]
        far = nearest(new, before) if len(before) and len(new) else None
        inside = nearest(here, here, apart=seeds[iterations == iteration]) if len(firsts) > 1 else None
        found.append(
            Diversity(
                iteration=int(iteration),
                prompts=len(here),
                novelty=None if far is None else float(far.mean()),
                novelty_error=None if far is None or len(far) < 2 else float(far.std(ddof=1) / np.sqrt(len(far))),
                nearest=None if inside is None else float(inside.mean()),
                lineages=len(firsts),
                near_duplicates=None if inside is None else float((inside <= NEAR).mean()),
                effective=vendi(here[np.sort(firsts)[:equal]]) if equal > 1 else None,
            )
        )
    return found


def nearest(rows: Vectors, others: Vectors, *, apart: NDArray[np.int64] | None = None) -> Vectors:
    """The distance of each row to the nearest row of `others`.

    `apart` is for rows that are compared with themselves: rows with the same number are not compared.
    """
    found = []
    for start in range(0, len(rows), _ROWS):
        cosines = rows[start : start + _ROWS] @ others.T
        if apart is not None:
            cosines[apart[start : start + _ROWS, None] == apart[None, :]] = -np.inf
        found.append(np.clip(1 - cosines.max(axis=1), 0, 2))
    return np.concatenate(found)


def vendi(rows: Vectors) -> float:
    """exp of the entropy of the eigenvalues of the cosine matrix over n (Friedman and Dieng 2023, arXiv 2210.02410).

    1 if all rows are equal, n if no two rows have anything in common. Two matrices have these eigenvalues. The smaller
    matrix is used.
    """
    matrix = (rows.T @ rows if rows.shape[1] < rows.shape[0] else rows @ rows.T) / len(rows)
    values = np.linalg.eigvalsh(matrix)
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum())) if len(values) else 1.0


def alarms(found: Sequence[Diversity]) -> list[str]:
    """A sentence for each iteration whose prompts collapse compared with the first iteration."""
    said = []
    for each in found[1:]:
        first = found[0]
        if first.effective and each.effective is not None and each.effective < COLLAPSE * first.effective:
            said.append(
                f"The prompts of iteration {each.iteration} are worth {each.effective:.3g} different ones where those "
                f"of iteration {first.iteration} are worth {first.effective:.3g}, less than {100 * COLLAPSE:.0f} %: "
                "the curriculum is collapsing to fewer kinds of prompts."
            )
        if (
            first.near_duplicates is not None
            and each.near_duplicates is not None
            and each.near_duplicates >= first.near_duplicates + REPEATING
        ):
            said.append(
                f"{100 * each.near_duplicates:.0f} % of the prompts of iteration {each.iteration} are almost the same "
                f"as one of another seed, where in iteration {first.iteration} {100 * first.near_duplicates:.0f} % "
                "are: the creator repeats itself."
            )
    return said
