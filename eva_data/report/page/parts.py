"""What the sections of a page are made of: plain records that the template knows how to draw.

A part holds text, numbers and finished charts, and no HTML of its own: whoever adds a section writes no template.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from markupsafe import Markup

COLOURS = 10
"""Colours of the style, `--c0` to `--c9`; the last one is grey."""


@dataclass(frozen=True)
class Share:
    """A share from 0 to 1, drawn as a bar with its percentage."""

    value: float


@dataclass(frozen=True)
class Figure:
    """A number that is written already, such as `$0.50`."""

    text: str


Cell: TypeAlias = "str | int | float | Share | Figure | None"
"""A value in a table; None is shown as a dash."""


@dataclass(frozen=True)
class Table:
    """A table; a column is set as numbers where all of its values are numbers."""

    kind: ClassVar[str] = "table"
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""

    def is_number(self, place: int) -> bool:
        return all(not isinstance(row[place], str | Share) for row in self.rows)


@dataclass(frozen=True)
class Chart:
    """A drawing with the sentence below it."""

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
    """One bar per row of shares, divided in the same order everywhere."""

    kind: ClassVar[str] = "stack"
    names: tuple[str, ...]
    bars: tuple[tuple[str, tuple[float, ...]], ...]
    """What a bar is of, and the share of each name in it."""
    caption: str = ""

    @property
    def colours(self) -> tuple[int, ...]:
        """The colour of each name; what goes beyond the palette is grey, as the rest is."""
        return tuple(min(place, COLOURS - 1) for place in range(len(self.names)))

    @property
    def legend(self) -> tuple[tuple[str, int], ...]:
        return tuple(zip(self.names, self.colours, strict=True))

    def spoken(self, shares: tuple[float, ...]) -> str:
        """A bar in words, for those who do not see it."""
        named = zip(self.names, shares, strict=True)
        return ", ".join(f"{name} {100 * share:.0f} %" for name, share in named if share)


@dataclass(frozen=True)
class Words:
    """A paragraph; a soft one is a remark."""

    kind: ClassVar[str] = "words"
    text: str
    soft: bool = False


@dataclass(frozen=True)
class Heading:
    """The heading of what follows inside a section."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Alarm:
    """Something that should not be overlooked."""

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
    """What is seen here, in a sentence or two."""
    parts: tuple[Part, ...]


def number(value: float | None) -> str:
    """A number as it is read: whole ones with separators, others with four digits."""
    if value is None or not math.isfinite(value):
        return "-"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"
