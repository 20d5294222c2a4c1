"""The end of a sweep: reads all outcomes, compares the arms, and writes tables and reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eva_data.experiments.arms import Ended, Play
from eva_data.experiments.design import Design, Sweep
from eva_data.experiments.outcomes import made_of, outcomes_of, scores_of
from eva_data.experiments.results import summary
from eva_data.experiments.verdicts import Contrast, compare, spread
from eva_data.experiments.written import SUMMARY_FILE, arms_table, html, markdown, write_tables
from eva_data.files import write_json, write_text


@dataclass(frozen=True)
class Result:
    """What a sweep came to."""

    design: Design
    arms: list[dict[str, object]]
    verdicts: list[Contrast]
    failed: list[Ended]
    """Plays that ended with an error; their seeds are left out of their arm's comparisons."""


def finish(sweep: Sweep, folder: Path, plays: Sequence[Play], ended: Sequence[Ended], command: Sequence[str]) -> Result:
    """Compare the arms over all plays that have an outcome, and write tables, `report.md` and `report.html`."""
    design = sweep.design
    failed = [each for each in ended if each.error is not None]
    complete = [play for play in plays if play not in {each.play for each in failed}]
    scores, made = scores_of(design, folder, complete), made_of(design, folder, complete)
    values = outcomes_of(design, folder, complete, scores)
    made = made.join(values.select("arm", "seed"), on=["arm", "seed"], how="semi", maintain_order="left")
    before = outcomes_of(design, folder, complete, scores, at_start=True)
    last = {arm: design.last_theta(arm) for arm in design.arms}
    theta = pl.col("arm").replace_strict(last, return_dtype=pl.Int32)
    write_tables(folder, scores, pl.concat([before.with_columns(theta=0), values.with_columns(theta=theta)]), made)
    write_json(folder / SUMMARY_FILE, summary(design, command, failed=len(failed)))
    arms = arms_table(design, values, before)
    verdicts = compare(design, values)
    spreads = [spread(design, scores, *pair) for pair in design.compare]
    write_text(folder / "report.md", markdown(design, command, arms, made, verdicts, spreads, failed))
    write_text(folder / "report.html", html(design, arms, values, made, verdicts, spreads, failed))
    return Result(design, arms, verdicts, failed)
