"""The candidates of one step of a chain, and the choice of the best (paper: appendix F, figure 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl

from eva_data.calls import Row
from eva_data.environments.tasks import PosedTask
from eva_data.evolve.conversation import Conversation
from eva_data.evolve.scorer import Scores
from eva_data.tables.reasons import CONTAMINATION, DUPLICATE, NEAR_DUPLICATE, NOT_BEST, TOPIC_CAP, kind


@dataclass(frozen=True)
class Prompt:
    """A surviving prompt of the chain, or its sampled prompt."""

    prompt_id: str
    conversation: Conversation
    depth: int
    task: PosedTask | None = None
    """The prompt as its environment made it; None if none did."""
    reply: str | None = None
    """The solver's best answer to it; None if no strategy needs one, or there is none."""


@dataclass(frozen=True)
class Candidate:
    """One attempt of a step."""

    row: Row
    """A row of EVOLUTIONS, without scores."""
    prompt: Prompt | None = None
    """The new prompt; None if a rule ended the attempt."""
    scores: Scores | None = None
    """None if the prompt was not rated."""


def one_goes_on(candidates: Sequence[Candidate]) -> tuple[list[Row], Prompt | None]:
    """The rows of a step with their scores, in order, and the prompt that goes on, or None if none survived.

    The prompt with the highest complexity + quality goes on. A prompt with both ratings goes before a prompt without.
    Ties are broken by the smallest `prompt_id`, which is a hash, and among equal prompts the first goes on.
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
    """A sentence on how many rows of EVOLUTIONS lack a rating that was asked for; None if there are none."""
    missing = evolutions["unscored"].count()
    asked = evolutions.select(pl.any_horizontal(pl.col("complexity", "quality", "unscored").is_not_null()).sum()).item()
    if not missing:
        return None
    return (
        f"the creator gave no whole rating of {missing} of {asked} evolved prompts: `unscored` says why, and among "
        "candidates without one a hash decided"
    )


JUDGED = ("chain_id", "step", "candidate", "prompt_id", "reason", "complexity", "quality")
"""The columns of EVOLUTIONS that `wrongly_judged` reads."""


def wrongly_judged(evolutions: pl.DataFrame) -> pl.DataFrame:
    """Rows of EVOLUTIONS whose status contradicts their scores, by the rules of `one_goes_on`."""
    reason = pl.col("reason")
    # If `eliminate` ended the best candidate of a step later, it had still gone on before.
    found_later = kind(reason).is_in([DUPLICATE, NEAR_DUPLICATE, CONTAMINATION])
    alive = evolutions.filter(reason.is_null() | reason.is_in([NOT_BEST, TOPIC_CAP]) | found_later)
    ranked = alive.with_columns(total=(pl.col("complexity") + pl.col("quality")).fill_null(0.0)).sort(
        "chain_id", "step", "total", "prompt_id", "candidate", descending=[False, False, True, False, False]
    )
    best = pl.struct("chain_id", "step").is_first_distinct()
    return ranked.filter(best == reason.eq_missing(NOT_BEST)).drop("total")


def _rank(candidate: Candidate) -> tuple[float, str]:
    total = None if candidate.scores is None else candidate.scores.total
    # Both ratings are at least 1, so a rated candidate goes before candidates without ratings.
    return -(total or 0.0), candidate.row["prompt_id"]
