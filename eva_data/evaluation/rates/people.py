"""How far judges agree with the people who reviewed the same pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from eva_data.comparing.orders import by_panel
from eva_data.evaluation.rates.weighing import KEYS, in_whole
from eva_data.statistics.interval import Interval
from eva_data.statistics.judges import cohen_kappa
from eva_data.statistics.shares import share

CHOSEN, REJECTED, TIE = "chosen", "rejected", "tie"
"""What people, and judges, say of a pair: which of its responses is better."""


@dataclass(frozen=True)
class Agreement:
    """Judges and people on the pairs that both judged."""

    pairs: pl.DataFrame
    """One row per pair: `prompt_id`, `turn`, `sample`, and the verdicts of the `people` and of the `judge`."""
    agrees: Interval | None
    """Share of the pairs on which both prefer a response on which they prefer the same; None without such a pair."""
    kappa: float | None
    """Cohen's kappa over all pairs, ties included; None where it is undefined."""

    @property
    def decided(self) -> pl.DataFrame:
        """The pairs on which both prefer a response."""
        return self.pairs.filter((pl.col("people") != TIE) & (pl.col("judge") != TIE))

    @property
    def undecided(self) -> int:
        """Pairs on which people prefer a response and the judges do not, often because the order decided."""
        return self.pairs.filter((pl.col("people") != TIE) & (pl.col("judge") == TIE)).height


def agreement_of(own: pl.DataFrame) -> Agreement:
    """The agreement by EVALUATIONS rows: `category` is the verdict of the people, and the solver's side is `chosen`."""
    panel = by_panel(in_whole(own), KEYS)
    people = own.select(*KEYS, people="category").unique(KEYS)
    said = pl.when(pl.col("score") > 0.5).then(pl.lit(CHOSEN)).when(pl.col("score") < 0.5).then(pl.lit(REJECTED))
    pairs = panel.join(people, on=KEYS).select(*KEYS, "people", judge=said.otherwise(pl.lit(TIE))).sort(KEYS)
    verdicts = pairs["people"].to_list(), pairs["judge"].to_list()
    found = Agreement(pairs, None, cohen_kappa(*verdicts) if pairs.height else None)
    decided = found.decided
    same = int((decided["people"] == decided["judge"]).sum())
    return replace(found, agrees=share(same, decided.height)) if decided.height else found
