"""Commands that measure the curriculum with models."""

from __future__ import annotations

from pathlib import Path

import click

from eva_data.cli.options import budget_option, config_options, read_config, start
from eva_data.cli.output import report, reports


@click.command()
@reports("folder", "iterations")
@budget_option
@config_options
def score(budget: float | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Have a fixed model rate how complex and how good prompts of every iteration are, from 1 to 5.

    \b
    eva-data score
    eva-data score --budget 2 --set score.sample=200

    Who rates is `score.model` in eva.yaml; it is asked two questions about each of `score.sample` prompts of an
    iteration, those of iteration 1 being the seeds. What was asked before comes from the ledger. `eva-data report`
    and the published card show the means with their intervals.
    """
    from eva_data.game.rate import rate_prompts
    from eva_data.report.measures.ratings import rating_summary

    run = start(read_config(config_path, overrides), budget=budget)
    rate_prompts(run)
    rows = rating_summary(run.store, run.store.iterations()).to_dicts()
    lines = [f"Iteration {row['iteration']}: {_told(row, 'complexity')}, {_told(row, 'quality')}." for row in rows]
    said = "\n".join([*lines, "Look at it with: eva-data report --open"])
    report(said, folder=run.config.folder, iterations=rows)


def _told(row: dict[str, float | None], aspect: str) -> str:
    mean, half, count = (row[f"{aspect}{figure}"] for figure in ("", "_error", "_rated"))
    if mean is None:
        return f"{aspect} unknown (none of {row['prompts']} prompts got a rating)"
    return f"{aspect} {mean:z.2f}{'' if half is None else f' ± {half:z.2f}'} ({count} of {row['prompts']} prompts)"
