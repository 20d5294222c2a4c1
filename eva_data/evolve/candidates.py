"""The candidates of one step of a chain, and which of them goes on (paper: appendix F, figure 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl

from eva_data.calls import Row
from eva_data.evolve.conversation import Conversation
from eva_data.evolve.scorer import Scores
from eva_data.tables.reasons import CONTAMINATION, DUPLICATE, NEAR_DUPLICATE, NOT_BEST, kind


@dataclass(frozen=True)
class Prompt:
    """A surviving prompt of the chain, the sampled one included."""

    prompt_id: str
    conversation: Conversation
    depth: int


@dataclass(frozen=True)
class Candidate:
    """One attempt of a step."""

    row: Row
    """Of records.EVOLUTIONS, without scores."""
    prompt: Prompt | None = None
    """The new prompt; null where a rule ended the attempt."""
    scores: Scores | None = None
    """Null where it was not rated."""


def one_goes_on(candidates: Sequence[Candidate]) -> tuple[list[Row], Prompt | None]:
    """The rows of a step with their scores, in order, and the prompt that goes on, if any survived.

    It is the one with the highest complexity + quality; whatever was rated in both goes before what was not. Of equal
    ones the smallest `prompt_id`, a hash, decides, and of equal prompts the first.
    """
    alive = [candidate for candidate in candidates if candidate.prompt is not None]
    best = min(alive, key=_rank, default=None)
    rows = []
    for candidate in candidates:
        row = candidate.row | (asdict(candidate.scores) if candidate.scores is not None else {})
        if candidate.prompt is not None and candidate is not best:
            row |= {"status": "unused", "reason": NOT_BEST}
        rows.append(row)
    return rows, None if best is None else best.prompt


def unrated(evolutions: pl.DataFrame) -> str | None:
    """How many of EVOLUTIONS got no rating that was asked for, as a sentence; null where there are none."""
    missing = evolutions["unscored"].count()
    asked = evolutions.select(pl.any_horizontal(pl.col("complexity", "quality", "unscored").is_not_null()).sum()).item()
    if not missing:
        return None
    return (
        f"the creator gave no whole rating of {missing} of {asked} evolved prompts: `unscored` says why, and among "
        "candidates without one a hash decided"
    )


def wrongly_judged(evolutions: pl.DataFrame) -> pl.DataFrame:
    """The rows of EVOLUTIONS that lost, or did not, other than `one_goes_on` has it by the scores beside them."""
    reason = pl.col("reason")
    # What `eliminate` found later did not keep the best of a step from going on.
    found_later = kind(reason).is_in([DUPLICATE, NEAR_DUPLICATE, CONTAMINATION])
    alive = evolutions.filter(reason.is_null() | (reason == NOT_BEST) | found_later)
    ranked = alive.with_columns(total=(pl.col("complexity") + pl.col("quality")).fill_null(0.0)).sort(
        "chain_id", "step", "total", "prompt_id", "candidate", descending=[False, False, True, False, False]
    )
    best = pl.struct("chain_id", "step").is_first_distinct()
    return ranked.filter(best == reason.eq_missing(NOT_BEST)).drop("total")


def _rank(candidate: Candidate) -> tuple[float, str]:
    total = None if candidate.scores is None else candidate.scores.total
    # Both ratings are at least 1, so that no rated one comes last.
    return -(total or 0.0), candidate.row["prompt_id"]
