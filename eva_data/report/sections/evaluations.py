"""The progress of the solvers: the figures of all stored evaluations."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from eva_data.dataset.evaluations import Compared, read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.report.measures.by_topic import by_topic
from eva_data.report.measures.evaluated import (
    NO_SHARES,
    by_set,
    contamination_of,
    ends_of,
    longest_lines,
    shown,
    unit_of,
    warnings_of,
)
from eva_data.report.page.charts import SERIES, Point, lines
from eva_data.report.page.parts import Alarm, Cell, Charts, Figure, Part, Section, Table, Words
from eva_data.report.sections.by_category import by_category, categories_of
from eva_data.tables.schemas import EVALUATIONS, empty

NOTE = (
    "An interval is about one checkpoint and the prompts of its set. Another training with the same settings gives "
    "another checkpoint, and that spread is not in it."
)


def evaluations(store: Store) -> Section | None:
    """A table for every set, a line over the thetas if there are several, and a sentence for each comparison."""
    record = read_record(store)
    if record is None or not record.evaluations:
        return None
    parts: list[Part] = []
    try:
        verdicts = read_rows(store, record)
    except DataError as error:
        parts.append(Alarm(f"The verdicts cannot be read: {error}"))
        verdicts = empty(EVALUATIONS)
    for name, made in by_set(record).items():
        parts += _of_set(name, made, verdicts)
    alarms = dict.fromkeys(
        f"{each.set}, {each.solver_name}: {warning}" for each in record.evaluations for warning in warnings_of(each)
    )
    parts += [Alarm(text) for text in (*record.alarms, *alarms)]
    reasons = dict.fromkeys(
        f"{each.set}: {reason}." for each in record.evaluations for reason in _listed(each, "not_comparable")
    )
    parts += [Words(text, soft=True) for text in reasons]
    parts.append(Words(NOTE, soft=True))
    return Section(
        "evaluations", "Evaluations", "How each solver does on prompts that none was trained on.", tuple(parts)
    )


def _of_set(name: str, made: Sequence[Compared], verdicts: pl.DataFrame) -> list[Part]:
    unit = unit_of(made[0])
    compares = any(each.against for each in made)
    styled = any(ends_of(each.figures.get("style_controlled")) for each in made)
    equal = dict.fromkeys(str(each.figures["length_name"]) for each in made if each.figures.get("length_name"))
    length = f"at equal length ({', '.join(equal)})" if equal else "at equal length"
    columns = (
        *("solver", *(("against",) if compares else ()), unit),
        *((length,) if compares else ()),
        *(("at equal style",) if styled else ()),
    )
    rows: list[tuple[Cell, ...]] = []
    for each in made:
        cells: list[Cell] = [each.solver_name]
        if compares:
            cells.append(each.against_name or "-")
        cells.append(_figure(each, "estimate"))
        if compares:
            cells.append(_figure(each, "length_controlled"))
        if styled:
            cells.append(_figure(each, "style_controlled"))
        cells += [f"{each.figures.get('judged')} of {each.prompts}", _tokens(each)]
        rows.append(tuple(cells))
    parts: list[Part] = []
    drawn = _line(name, unit, made)
    if drawn is not None:
        parts.append(drawn)
    judges = ", ".join(dict.fromkeys(judge for each in made for judge in each.judges))
    caption = f"{name} ({made[0].prompts} prompts), by the rule {made[0].rule} ({made[0].source}), judged by {judges}."
    parts.append(Table((*columns, "judged", "tokens"), tuple(rows), caption))
    scores, what = categories_of(made), "category"
    if not scores:
        scores, what = by_topic(made, verdicts), "topic"
    parts += by_category(name, made, scores, what)
    told = [each for each in made if each.against or unit == "agreement"]
    parts += [Words(str(each.figures["sentence"])) for each in told if each.figures.get("sentence")]
    parts += [Words(text) for text in dict.fromkeys(map(contamination_of, made)) if text]
    return parts


def _contamination(each: Compared) -> str:
    """The sentence on prompts that repeat training texts; empty without a check."""
    found = each.figures.get("contamination")
    text = found.get("sentence") if isinstance(found, dict) else None
    return f"{each.solver_name}: {text}" if isinstance(text, str) else ""


def _line(name: str, unit: str, made: Sequence[Compared]) -> Charts | None:
    """The estimates over the thetas, one line for each other side. None with fewer than two thetas."""
    longest, of_all = longest_lines(made, len(SERIES))
    kept: dict[str, list[Point]] = {label: list(points) for label, points in longest.items()}
    if not kept:
        return None
    caption = f"{unit} on {name}, theta by theta, with 95 % intervals{of_all}"
    chart = lines("evaluations", caption, kept, x="theta", y=unit, share=unit not in NO_SHARES)
    return Charts((chart,), tuple((label, place) for place, label in enumerate(kept)))


def _figure(each: Compared, key: str) -> Cell:
    return _written(each.figures.get(key), each)


def _written(value: object, each: Compared) -> Figure | None:
    text = shown(ends_of(value), unit_of(each))
    return None if text is None else Figure(text)


def _tokens(each: Compared) -> Cell:
    found = _listed(each, "tokens")
    return Figure(f"{found[0]:.0f}") if found and isinstance(found[0], int | float) else None


def _listed(each: Compared, key: str) -> list[object]:
    found = each.figures.get(key)
    return found if isinstance(found, list) else []
