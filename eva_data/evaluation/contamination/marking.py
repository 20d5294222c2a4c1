"""Writes into the rows of an evaluation which prompts repeat training texts, and says so."""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from eva_data.config import EvaluationSet
from eva_data.dataset.evaluations import Compared, ContaminationCheck
from eva_data.evaluation.contamination.check import REASONS, check_of, key_of, settings_of
from eva_data.iteration.run import Run
from eva_data.tables.schemas import EVALUATIONS

COLUMNS = ("contaminated", "nearest_id", "nearest_score")

SEPARATOR = "+"


@dataclass
class SetCheck:
    """The checks of one set, one for each theta up to which it is compared."""

    run: Run
    block: EvaluationSet
    prompts: pl.DataFrame
    made: dict[int, tuple[ContaminationCheck, pl.DataFrame] | None] = field(default_factory=dict)

    def until(self, *thetas: int | None) -> int:
        """The last iteration that a side of a comparison was trained on; 0 if none was, or if nothing is compared.

        The sandbox keeps its held-out prompts apart by their making, and its prompts are all alike.
        """
        if self.block.sandbox is not None or not settings_of(self.run).check:
            return 0
        return max((theta for theta in thetas if theta is not None), default=0)

    def stands(self, kept: Compared, until: int) -> bool:
        """Whether a kept comparison has the check that would be made now."""
        if not until or not any(number <= until for number in self.run.store.iterations()):
            return kept.contamination is None
        return kept.contamination is not None and kept.contamination.key == key_of(self.run, self.prompts, until)

    def record(self, until: int) -> ContaminationCheck | None:
        """The record of a check, which is made at the first call."""
        found = self._check(until)
        return None if found is None else found[0]

    def marked(self, rows: pl.DataFrame, until: int) -> pl.DataFrame:
        """EVALUATIONS rows with the columns of the check."""
        found = self._check(until)
        empty = [pl.lit(None, EVALUATIONS[name]).alias(name) for name in COLUMNS]
        if found is None:
            return rows.with_columns(empty).select(EVALUATIONS.names())
        return (
            rows.drop(COLUMNS, strict=False)
            .join(summary(found[1]), on="prompt_id", how="left", maintain_order="left")
            .select(EVALUATIONS.names())
        )

    def _check(self, until: int) -> tuple[ContaminationCheck, pl.DataFrame] | None:
        if until not in self.made:
            self.made[until] = check_of(self.run, self.prompts, until) if until else None
        return self.made[until]


def summary(hits: pl.DataFrame) -> pl.DataFrame:
    """One row per flagged prompt of HITS: `prompt_id`, all reasons, and the surest hit's id and score."""
    surest = pl.col("sign").replace_strict({name: place for place, name in enumerate(REASONS)})
    return (
        hits.sort("prompt_id", surest)
        .group_by("prompt_id", maintain_order=True)
        .agg(
            contaminated=pl.col("sign").str.join(SEPARATOR),
            nearest_id=pl.col("nearest_id").first(),
            nearest_score=pl.col("score").first(),
        )
    )
