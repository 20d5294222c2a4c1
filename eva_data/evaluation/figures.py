"""Figures of evaluations, all recomputed from the rows that are kept: win rates, accuracies, and what judges made of order.

The prompt is the unit of every interval here: an interval is about *this checkpoint*, not about the method, for which
several trainings with different seeds are needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from eva_data.comparing.orders import by_panel, flips
from eva_data.dataset.evaluations import Compared
from eva_data.evaluation.rule import rule_called
from eva_data.evaluation.weights import weight_of
from eva_data.statistics.intervals import Interval

SEED = 20411
"""Of every bootstrap draw; the same rows give the same figures."""

CONSISTENT = 0.6
"""Share of prompts on which a judge must say the same in both orders, for its verdicts to count as ones."""

LENGTHS_APART = 0.1
"""Difference between raw and length-controlled win rate from which a reader is warned."""

_KEYS = ["prompt_id", "turn", "sample"]


@dataclass(frozen=True)
class OrderFigures:
    """What a judge made of the order of the replies."""

    judge: str
    both: int
    """Prompts that it judged in both orders."""
    consistent: float | None
    """Share of them in which it said the same; None without any."""
    first: Interval | None
    """Share of its decided verdicts that went to the reply shown first; None without any."""


@dataclass(frozen=True)
class Figures:
    """What the rows of one comparison come to."""

    compared: Compared
    unit: str
    """`win rate`, `right` or `rating`."""
    judged: int
    """Prompts with a verdict."""
    estimate: Interval | None
    """In [0, 1], or on the scale of the rating; None where nothing was judged."""
    scores: pl.DataFrame
    """One row per judged prompt: `prompt_id`, `category`, `score`."""
    categories: Mapping[str, Interval]
    pass_at: Mapping[int, float]
    """k -> share of prompts that k answers solve; empty with one answer a prompt."""
    tokens: tuple[float | None, float | None]
    """Mean length of the answers in tokens, of the solver and of the other side; None where it is unknown."""
    truncated: tuple[float | None, float | None]
    """Share of the answers that were cut at `max_tokens`."""
    length_controlled: Interval | None
    orders: tuple[OrderFigures, ...]
    agreement: float | None
    """Mean share of the judges that agree with the panel; None with one judge."""
    reasons: Mapping[str, int]
    """Why rows have no score, or were decided without a judge -> rows."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """Two sides that were judged by themselves on the same prompts."""

    set: str
    solver: str
    against: str
    unit: str
    estimate: Interval
    """Mean of the solver's score minus the other's, prompt by prompt."""
    p: float = field(default=1.0)
