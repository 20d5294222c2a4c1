"""A figure with its interval, and the checks of the numbers that functions of this package get."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import numpy as np
import numpy.typing as npt

from eva_data.errors import DataError

LEVEL = 0.95
"""The default coverage of an interval."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with the lower and the upper end of its interval, and the number of prompts it rests on."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def width(self) -> float:
        return self.high - self.low

    def holds(self, value: float) -> bool:
        """Whether the value lies in the interval, its ends included."""
        return self.low <= value <= self.high

    def stretched(self, scale: float, shift: float) -> Interval:
        """The interval of `scale * x + shift`; a negative scale swaps the ends."""
        low, high = sorted((scale * self.low + shift, scale * self.high + shift))
        return Interval(scale * self.estimate + shift, low, high, self.n)

    def other_side(self) -> Interval:
        """The win rate of the other side: one minus this one."""
        return self.stretched(-1, 1)


def package(module: str) -> ModuleType:
    """A module of scipy or statsmodels, imported when it is needed, since both are slow to import."""
    return import_module(module)


def numbers(values: npt.ArrayLike, what: str, low: float = -np.inf, high: float = np.inf) -> Floats:
    """The values as floats, at least one of them.

    Raises DataError for none, for nulls, for values that are not finite and for values outside `low` to `high`.
    """
    found = np.asarray(values, dtype=float)
    if found.size == 0:
        raise DataError(f"no {what} to compute with, at least one was expected: look whether every prompt was left out")
    if not np.isfinite(found).all():
        wrong = int((~np.isfinite(found)).sum())
        raise DataError(f"{wrong} of {found.size} {what} are missing or not finite: leave these prompts out by name")
    if found.min() < low or found.max() > high:
        raise DataError(
            f"{what} from {found.min():g} to {found.max():g} were found, {low:g} to {high:g} were expected: "
            "look which scale they are on"
        )
    return found


def paired(first: npt.ArrayLike, second: npt.ArrayLike, what: str) -> tuple[Floats, Floats]:
    """Two columns of numbers that belong together row by row. Raises DataError if their lengths differ."""
    one, other = numbers(first, what), numbers(second, what)
    if one.shape != other.shape:
        raise DataError(
            f"{one.shape[0]} {what} were found on one side and {other.shape[0]} on the other, as many on both were "
            "expected: join the sides by prompt"
        )
    return one, other


def quantile(level: float) -> float:
    """The normal quantile z of a two-sided interval of this level: 1.96 for .95."""
    return float(package("scipy.special").ndtri(0.5 + level / 2))
