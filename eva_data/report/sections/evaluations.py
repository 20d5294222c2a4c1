"""The progress of the solvers: the figures of all stored evaluations."""

from __future__ import annotations

from collections.abc import Sequence

from eva_data.dataset.evaluations import Compared, read_record
from eva_data.dataset.store import Store
from eva_data.report.page.charts import Point, lines
from eva_data.report.page.parts import Alarm, Cell, Charts, Figure, Part, Section, Table, Words

MOST_CATEGORIES = 40
"""So many categories of a set are shown."""

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
    for name, prompts in dict.fromkeys((each.set, each.prompts_hash) for each in record.evaluations):
        of_set = [each for each in record.evaluations if (each.set, each.prompts_hash) == (name, prompts)]
        parts += _of_set(name, of_set)
    alarms = dict.fromkeys(
        f"{each.set}, {each.solver_name}: {warning}"
        for each in record.evaluations
        for warning in _listed(each, "warnings")
    )
    parts += [Alarm(text) for text in alarms]
    reasons = dict.fromkeys(
        f"{each.set}: {reason}." for each in record.evaluations for reason in _listed(each, "not_comparable")
    )
    parts += [Words(text, soft=True) for text in reasons]
    parts.append(Words(NOTE, soft=True))
    return Section(
        "evaluations", "Evaluations", "How each solver does on prompts that none was trained on.", tuple(parts)
    )


def _of_set(name: str, made: Sequence[Compared]) -> list[Part]:
    unit = str(made[0].figures.get("unit", "score"))
    compares = any(each.against for each in made)
    styled = any(_interval(each.figures.get("style_controlled")) for each in made)
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
    categories = _categories(made)
    if categories is not None:
        parts.append(categories)
    parts += [Words(str(each.figures["sentence"])) for each in made if each.against and each.figures.get("sentence")]
    return parts


def _line(name: str, unit: str, made: Sequence[Compared]) -> Charts | None:
    """The estimates over the thetas, one line for each other side. None with fewer than two thetas."""
    series: dict[str, list[Point]] = {}
    for each in made:
        ends = _interval(each.figures.get("estimate"))
        if each.theta is None or ends is None:
            continue
        against = f"against {each.against_name}" if each.against else "by itself"
        series.setdefault(against, []).append((each.theta, ends[0], ends[1], ends[2]))
    kept = {label: sorted(points) for label, points in series.items() if len(points) > 1}
    if not kept:
        return None
    chart = lines("evaluations", f"{unit} on {name}, theta by theta, with 95 % intervals", kept, y=unit)
    return Charts((chart,), tuple((label, place) for place, label in enumerate(kept)))


def _categories(made: Sequence[Compared]) -> Table | None:
    names = list(dict.fromkeys(name for each in made for name in each.figures.get("categories") or {}))
    if not 1 < len(names) <= MOST_CATEGORIES:
        return None
    heads = [each.solver_name + (f" / {each.against_name}" if each.against else "") for each in made]
    rows = tuple((name, *(_of_category(each, name) for each in made)) for name in names)
    return Table(("category", *heads), rows)


def _of_category(each: Compared, name: str) -> Cell:
    return _written((each.figures.get("categories") or {}).get(name), each)


def _figure(each: Compared, key: str) -> Cell:
    return _written(each.figures.get(key), each)


def _written(value: object, each: Compared) -> Figure | None:
    ends = _interval(value)
    if ends is None:
        return None
    if each.figures.get("unit") == "rating":
        return Figure(f"{ends[0]:.2f} [{ends[1]:.2f}, {ends[2]:.2f}]")
    return Figure(f"{100 * ends[0]:.1f} % [{100 * ends[1]:.1f}, {100 * ends[2]:.1f}]")


def _tokens(each: Compared) -> Cell:
    found = _listed(each, "tokens")
    return Figure(f"{found[0]:.0f}") if found and isinstance(found[0], int | float) else None


def _listed(each: Compared, key: str) -> list[object]:
    found = each.figures.get(key)
    return found if isinstance(found, list) else []


def _interval(value: object) -> tuple[float, float, float] | None:
    """An estimate with its interval. None for any other value, because a stranger may have written the record."""
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(each, int | float) for each in value):
        return None
    return value[0], value[1], value[2]
