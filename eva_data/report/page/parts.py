"""The parts of a section: plain records that the template can draw.

A part holds text, numbers and finished charts, and no HTML. So a new section needs no template.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from markupsafe import Markup

COLOURS = 10
"""The number of colours of the style, `--c0` to `--c9`. The last colour is grey."""


@dataclass(frozen=True)
class Share:
    """A share from 0 to 1, drawn as a bar with its percentage."""

    value: float


@dataclass(frozen=True)
class Figure:
    """A number as finished text, such as `$0.50`."""

    text: str


Cell: TypeAlias = "str | int | float | Share | Figure | None"
"""A value in a table; None is shown as a dash."""


@dataclass(frozen=True)
class Table:
    """A table. A column whose values are all numbers is set as numbers."""

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    def is_number(self, place: int) -> bool:
        return all(not isinstance(row[place], str | Share) for row in self.rows)


@dataclass(frozen=True)
class Chart:
    """A drawing with a sentence below it."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Charts:
    """Drawings side by side, with one legend for all: (name, number of its colour)."""

    kind: ClassVar[str] = "charts"
    charts: tuple[Chart, ...]
    legend: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Stack:
    """One bar per row of shares. All bars are divided in the same order."""

    kind: ClassVar[str] = "stack"
    names: tuple[str, ...]
    bars: tuple[tuple[str, tuple[float, ...]], ...]
    """(name of the bar, share of each name in it)."""
    caption: str = ""

    @property
    def colours(self) -> tuple[int, ...]:
        """The colour of each name. Names beyond the palette are grey."""
        return tuple(min(place, COLOURS - 1) for place in range(len(self.names)))

    @property
    def legend(self) -> tuple[tuple[str, int], ...]:
        return tuple(zip(self.names, self.colours, strict=True))

    def spoken(self, shares: tuple[float, ...]) -> str:
        """A bar in words, for screen readers."""
        named = zip(self.names, shares, strict=True)
        return ", ".join(f"{name} {100 * share:z.0f} %" for name, share in named if share)


@dataclass(frozen=True)
class Words:
    """A paragraph. A soft paragraph is a remark."""

    kind: ClassVar[str] = "words"
    text: str
    soft: bool = False


@dataclass(frozen=True)
class Heading:
    """A heading inside a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Alarm:
    """A sentence that should not be overlooked."""

    kind: ClassVar[str] = "alarm"
    text: str


Part: TypeAlias = Table | Charts | Stack | Words | Heading | Alarm


@dataclass(frozen=True)
class Section:
    """A part of a page under a heading of its own."""

    name: str
    """Its anchor: letters and hyphens."""
    title: str
    lead: str
    """A summary in one or two sentences."""
    parts: tuple[Part, ...]


def number(value: float | None) -> str:
    """A number for readers: integers with separators, others with four digits."""
    if value is None or not math.isfinite(value):
        return "-"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:z,.0f}"
    return f"{value:z.4g}"
