"""How new and how diverse the prompts of an iteration are: distances between vectors of length 1.

The distance of two prompts is 1 minus the cosine of their vectors: 0 for the same direction, 1 for nothing in common.
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
"""An iteration of less than this share of the first one's effective number of prompts is called collapsing."""
REPEATING = 0.2
"""So is an iteration whose share of near-duplicates is this much higher than that of the first one."""
_ROWS = 2_000
"""Rows of a distance matrix that are in memory at once."""


@dataclass(frozen=True)
class Diversity:
    """Of the sampled prompts of one iteration."""

    iteration: int
    prompts: int
    novelty: float | None
    """Mean distance of the prompts that earlier iterations do not have to the nearest prompt of these; None without."""
    novelty_error: float | None
    """Its standard error."""
    lineages: int
    """Seeds from which they come."""
    nearest: float | None
    """Mean distance to the nearest prompt of the same iteration that comes from another seed; None without."""
    near_duplicates: float | None
    """Share of the prompts that are within NEAR of one."""
    effective: float | None
    """The Vendi score of one prompt of each of equally many seeds: how many different ones they are worth."""


def diversities(
    vectors: Vectors, iterations: NDArray[np.int64], ids: Sequence[str], roots: Sequence[str]
) -> list[Diversity]:
    """The diversity of each iteration, ascending; rows are prompts, in order of iteration and then of ids, hashes.

    Prompts of one seed are alike by design, so that prompts of different seeds are compared.
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
    """The distance of each row to the nearest of the others.

    `apart` is for rows that are compared with themselves: those of the same number are not.
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

    1 where all rows are the same, n where no two have anything in common. The eigenvalues are taken of the smaller
    matrix of the two that share them.
    """
    matrix = (rows.T @ rows if rows.shape[1] < rows.shape[0] else rows @ rows.T) / len(rows)
    values = np.linalg.eigvalsh(matrix)
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum())) if len(values) else 1.0


def alarms(found: Sequence[Diversity]) -> list[str]:
    """A sentence for each iteration whose prompts collapse, compared with the first one."""
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
