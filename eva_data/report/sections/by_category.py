"""How each solver does by category of the prompts, or by topic where they have none (the paper's figure 7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eva_data.dataset.evaluations import Compared
from eva_data.report.measures.evaluated import NO_SHARES, ends_of, shown, unit_of
from eva_data.report.page.charts import SERIES, radar
from eva_data.report.page.parts import Cell, Charts, Figure, Part, Table, Words

MOST_CATEGORIES = 40
"""Categories that the table shows of a set."""
SPOKES = range(3, 13)
"""Numbers of categories that a picture can show."""

Scores = Mapping[str, Mapping[str, object]]
"""Key of a comparison -> category -> estimate with its ends, as the record has it."""


def categories_of(made: Sequence[Compared]) -> Scores:
    """The figures by category that the record holds."""
    found = {each.key: each.figures.get("categories") for each in made}
    return {key: categories for key, categories in found.items() if isinstance(categories, dict) and categories}


def by_category(name: str, made: Sequence[Compared], scores: Scores, what: str) -> list[Part]:
    """A picture with a table beside it, or a sentence on why there is none. `what` is category or topic."""
    names = list(dict.fromkeys(category for each in made for category in scores.get(each.key, {})))
    if len(names) < 2:
        return [
            Words(f"The prompts of {name} have no categories and are too few for topics: nothing to show.", soft=True)
        ]
    parts: list[Part] = []
    pictured = _pictured(made, scores, names)
    if len(names) not in SPOKES:
        parts.append(Words(f"{len(names)} {what} values make no picture; 3 to 12 do.", soft=True))
    elif pictured:
        parts.append(_picture(name, pictured, scores, names, what))
    heads = [each.solver_name + (f" / {each.against_name}" if each.against else "") for each in made]
    rows = tuple(
        (Figure(f"{place}"), category, *(_cell(each, scores, category) for each in made))
        for place, category in enumerate(names[:MOST_CATEGORIES], 1)
    )
    return [*parts, Table(("", what, *heads), rows)]


def _pictured(made: Sequence[Compared], scores: Scores, names: Sequence[str]) -> list[Compared]:
    """Up to three thetas that were judged alike: the first one and the last two."""
    groups: dict[str, list[Compared]] = {}
    for each in made:
        if each.theta is not None and all(ends_of(scores.get(each.key, {}).get(name)) for name in names):
            groups.setdefault(each.against_name or "", []).append(each)
    longest = max(map(len, groups.values()), default=0)
    largest = next((group for group in groups.values() if len(group) == longest), [])
    largest = sorted(largest, key=lambda each: each.theta or 0)
    return largest if len(largest) <= len(SERIES) else [largest[0], *largest[-2:]]


def _picture(name: str, pictured: Sequence[Compared], scores: Scores, names: Sequence[str], what: str) -> Charts:
    unit = unit_of(pictured[0])
    series = [[ends[0] for category in names if (ends := ends_of(scores[each.key][category]))] for each in pictured]
    against = f" against {pictured[0].against_name}" if pictured[0].against else ""
    spoken = "; ".join(
        f"{each.solver_name}: {', '.join(f'{place} {value:z.2f}' for place, value in enumerate(values, 1))}"
        for each, values in zip(pictured, series, strict=True)
    )
    caption = f"{unit} on {name}{against} by {what}, numbered as in the table"
    chart = radar(f"radar-{name}", caption, series, spoken=f"{caption}. {spoken}", share=unit not in NO_SHARES)
    return Charts((chart,), tuple((each.solver_name, place) for place, each in enumerate(pictured)))


def _cell(each: Compared, scores: Scores, category: str) -> Cell:
    text = shown(ends_of(scores.get(each.key, {}).get(category)), unit_of(each))
    return None if text is None else Figure(text)
