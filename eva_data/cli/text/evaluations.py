"""Texts after an evaluation: a table per set, then a sentence per comparison."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from eva_data.cli.text.terminal import Terminal
from eva_data.dataset.evaluations import Compared, read_record, read_rows
from eva_data.evaluation.evaluate import settings_of
from eva_data.evaluation.figures import Figures, all_figures, differences_of
from eva_data.evaluation.sentences import (
    ON_A_SCALE,
    checkpoint_note,
    contamination_sentence,
    difference_sentence,
    percent,
    rating,
    sentence_of,
)
from eva_data.foreign import visible
from eva_data.iteration.run import Run
from eva_data.statistics.differences import holm


def print_evaluations(run: Run, compared: Sequence[Compared] | None = None) -> None:
    """Print the figures of these comparisons, or of all kept comparisons; print nothing if there are none."""
    record = read_record(run.store)
    if record is None or not record.evaluations:
        return
    wanted = {each.key for each in compared} if compared is not None else {each.key for each in record.evaluations}
    own_rules = {block.rule for block in settings_of(run.config).sets} | {each.rule for each in compared or ()}
    everything = all_figures(record, read_rows(run.store, record), own_rules)
    made = [figures for figures in everything if figures.compared.key in wanted]
    console = Terminal()
    for kind in dict.fromkeys(_kind(figures) for figures in made):
        of_set = [each for each in made if _kind(each) == kind]
        name = of_set[0].compared.set
        console.print(_table(name, of_set))
        if (categories := _categories(name, of_set)) is not None:
            console.print(categories)
    for figures in made:
        if figures.unit in ("win rate", "agreement"):
            console.print(visible(sentence_of(figures)), soft_wrap=True, highlight=False)
        if (repeats := contamination_sentence(figures)) is not None:
            console.print(visible(repeats), soft_wrap=True, highlight=False)
        for warning in figures.warnings:
            console.print(f"Warning: {visible(warning)}", soft_wrap=True, highlight=False)
    for alarm in record.alarms:
        console.print(f"Alarm: {visible(alarm)}.", soft_wrap=True, highlight=False)
    for reason in dict.fromkeys(reason for figures in made for reason in figures.not_comparable):
        console.print(f"Note: {visible(reason)}.", soft_wrap=True, highlight=False)
    solvers = list(dict.fromkeys(each.compared.solver_name for each in made))
    pairs = [found for place, solver in enumerate(solvers) for found in differences_of(made, solver, solvers[:place])]
    adjusted = holm({str(place): found.p for place, found in enumerate(pairs)})
    for found, p in zip(pairs, adjusted.values(), strict=True):
        console.print(visible(difference_sentence(found, p)), soft_wrap=True, highlight=False)
    console.print(checkpoint_note(made), soft_wrap=True, highlight=False)


def _kind(figures: Figures) -> tuple[str, str, str]:
    """What the comparisons of one table share: set, prompts and rule."""
    return figures.compared.set, figures.compared.prompts_hash, figures.compared.rule


def _table(name: str, made: Sequence[Figures]) -> Table:
    """One row per comparison."""
    compares = made[0].unit == "win rate"
    table = Table(title=f"{visible(name)} ({visible(made[0].compared.rule)})", title_justify="left")
    table.add_column("solver", no_wrap=True)
    if compares:
        table.add_column("against", no_wrap=True)
    table.add_column(made[0].unit)
    if compares:
        names = dict.fromkeys(figures.length_name for figures in made if figures.length_name)
        table.add_column(f"at equal length ({', '.join(names)})" if names else "at equal length")
    for column in ("prompts", "tokens"):
        table.add_column(column, justify="right")
    for figures in made:
        cells = [figures.compared.solver_name]
        if compares:
            cells.append(figures.compared.against_name or "")
        cells.append("-" if figures.estimate is None else _interval(figures))
        if compares:
            controlled = figures.length_controlled
            cells.append("-" if controlled is None else percent(controlled))
        cells.append(f"{figures.judged} of {figures.compared.prompts}")
        cells.append("-" if figures.tokens[0] is None else f"{figures.tokens[0]:z.0f}")
        table.add_row(*(Text(visible(cell)) for cell in cells))
    return table


MOST_CATEGORIES = 12
"""Number of categories that a terminal shows; the report shows all."""


def _categories(name: str, made: Sequence[Figures]) -> Table | None:
    """One row per category and one column per comparison; None if there are no or too many categories."""
    categories = sorted({category for figures in made for category in figures.categories})
    if not 1 < len(categories) <= MOST_CATEGORIES or len(made) > 5:
        return None
    table = Table(title=f"{visible(name)}: {made[0].unit} by category", title_justify="left")
    table.add_column("category")
    for figures in made:
        against = f" / {figures.compared.against_name}" if figures.compared.against_name else ""
        table.add_column(Text(visible(figures.compared.solver_name + against)), justify="right")
    for category in categories:
        table.add_row(Text(visible(category)), *(_category(figures, category) for figures in made))
    return table


def _interval(figures: Figures) -> str:
    assert figures.estimate is not None
    return rating(figures.estimate) if figures.unit in ON_A_SCALE else percent(figures.estimate)


def _category(figures: Figures, category: str) -> str:
    interval = figures.categories.get(category)
    if interval is None:
        return "-"
    return f"{interval.estimate:z.2f}" if figures.unit in ON_A_SCALE else f"{100 * interval.estimate:z.1f} %"
