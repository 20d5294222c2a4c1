"""Judges with planted preferences: their replies to many prompts, as texts, and the figure that these must come to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Texts = npt.NDArray[np.str_]

STRONG = 0.4
"""Share of strong verdicts among those that are no tie."""

OWN = {
    "first": (
        "Verdict: first",
        "The first one is right.\n**Verdict: first**",
        '{"reason": "right", "verdict": "first"}',
    ),
    "second": (
        "Verdict: second",
        "It is shorter.\nFinal verdict: second reply.",
        '{"reason": "", "verdict": "second"}',
    ),
    "tie": ("Verdict: tie", "Neither helps.\n> Verdict: Tie", '```json\n{"verdict": "tie"}\n```'),
}
"""Verdict -> the texts of a judge of the own rule, which say it in different ways."""


@dataclass(frozen=True)
class Planted:
    """What a judge prefers.

    The better side is drawn per prompt, the solver's with probability `rate`, likelier where its answer is the longer
    one. The judge names the better side, or a tie with probability `ties`. But with probability `bias`, for each order
    by itself, it names the answer that is shown first.
    """

    rate: float
    bias: float
    ties: float

    def verdicts(self, draw: np.random.Generator, n: int) -> tuple[Texts, Texts, npt.NDArray[np.int64]]:
        """The verdict on each prompt with the solver's answer first, and with it second; and its answer's length."""
        longer = np.tanh(draw.normal(size=n))
        better = draw.random(n) < self.rate + 0.9 * min(self.rate, 1 - self.rate) * longer
        tie = draw.random(n) < self.ties
        first = np.where(tie, "tie", np.where(better, "first", "second"))
        second = np.where(tie, "tie", np.where(better, "second", "first"))
        first = np.where(draw.random(n) < self.bias, "first", first)
        second = np.where(draw.random(n) < self.bias, "first", second)
        return first, second, (100 + 60 * longer).astype(int)

    @property
    def win_rate(self) -> float:
        """What these verdicts come to: bias draws the rate towards one half."""
        return 0.5 * self.bias + (1 - self.bias) * (0.5 * self.ties + (1 - self.ties) * self.rate)

    @property
    def deviation(self) -> float:
        """Of a prompt's score, the mean of both orders: what the two verdicts share, and what their two coins add."""
        kept = 1 - self.bias
        square = 0.25 * (1 - self.ties) * (kept + kept**2) / 2 + 0.25 * (self.bias - self.bias**2) / 2
        return float(np.sqrt(square - (self.win_rate - 0.5) ** 2))

    @property
    def weighed_rate(self) -> float:
        """What they come to where a strong verdict counts three times: the mean weight of a decided one is 1.8."""
        decided = 1 + 2 * STRONG
        won = self.bias * decided + 2 * (1 - self.bias) * (0.5 * self.ties + (1 - self.ties) * self.rate * decided)
        return won / (2 * self.bias * decided + 2 * (1 - self.bias) * (self.ties + (1 - self.ties) * decided))


def in_words(draw: np.random.Generator, verdicts: Texts) -> list[str]:
    """The replies of a judge of the own rule."""
    ways = draw.integers(0, 3, verdicts.size)
    return [OWN[verdict][way] for verdict, way in zip(verdicts.tolist(), ways.tolist(), strict=True)]


def in_five_labels(draw: np.random.Generator, verdicts: Texts) -> list[str]:
    """The replies of a judge of Arena-Hard's rule, of whose verdicts some are strong."""
    strong = draw.random(verdicts.size) < STRONG
    plain = np.select([verdicts == "first", verdicts == "second"], ["[[A>B]]", "[[B>A]]"], "[[A=B]]")
    label = np.select(
        [strong & (verdicts == "first"), strong & (verdicts == "second")], ["[[A>>B]]", "[[B>>A]]"], plain
    )
    return [f"My own answer is short.\n\nMy final verdict is: {text}" for text in label.tolist()]
