"""The share of an evaluation's prompts that repeat training texts, with the estimate without them, out of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.dataset.evaluations import ContaminationCheck
from eva_data.statistics.interval import Interval


@dataclass(frozen=True)
class Flagged:
    """What a check found in the judged prompts of a comparison."""

    check: ContaminationCheck
    prompts: int
    """Prompts in the rows."""
    flagged: int
    reasons: Mapping[str, int]
    """Reason -> prompts. A prompt may have several."""
    without: Interval | None
    """The estimate without the flagged prompts; None if none is flagged, or if none is left."""


def flagged_of(check: ContaminationCheck, rows: pl.DataFrame, without: Interval | None) -> Flagged:
    """What the rows of a comparison say."""
    prompts = rows.select("prompt_id", "contaminated").unique("prompt_id")
    marked = prompts.filter(pl.col("contaminated").is_not_null())
    reasons = marked.select(pl.col("contaminated").str.split("+").explode()).to_series().value_counts(sort=True)
    counts = dict(sorted(reasons.iter_rows(), key=lambda each: (-each[1], each[0])))
    return Flagged(check, prompts.height, marked.height, counts, without)


def sentence(found: Flagged, shown: str | None) -> str:
    """What a reader should know; `shown` is the estimate without the flagged prompts, in words."""
    check = found.check
    across = "" if check.across_languages else ", in English alone"
    by = {
        None: "Texts of the same meaning were not looked for.",
        "words": "Texts of the same meaning were looked for by their words alone, which finds few paraphrases and no "
        "translations.",
    }.get(check.by, f"Texts of the same meaning were looked for by the embedding model {check.by}{across}.")
    against = f"{check.texts:,} training texts of {_iterations(check.until)}"
    notes = "".join(f" {note[0].upper()}{note[1:]}." for note in check.notes)
    if not found.flagged:
        return f"None of {found.prompts} prompts repeats one of {against}. {by}{notes}"
    reasons = ", ".join(f"{reason} {count}" for reason, count in found.reasons.items())
    rest = "nothing is left without them" if shown is None else f"without them: {shown}"
    return (
        f"{found.flagged} of {found.prompts} prompts repeat one of {against} ({reasons}); {rest}. They touch "
        f"{check.training_prompts:,} training prompts, with those that were evolved from them. {by}{notes}"
    )


def plain_flagged(found: Flagged | None, text: str | None) -> dict[str, Any] | None:
    """Values for the record."""
    if found is None:
        return None
    kept = found.without
    return {
        "prompts": found.prompts,
        "flagged": found.flagged,
        "reasons": dict(found.reasons),
        "without": None if kept is None else [kept.estimate, kept.low, kept.high],
        "sentence": text,
    }


def _iterations(until: int) -> str:
    return "iteration 1" if until == 1 else f"iterations 1 to {until}"
