"""Which prompts are solved, so that the differences between their rewards are about what training can still change.

The regret of a prompt is the distance to the best response that the solver *could* give (paper: equations 3 to 6), and
the best response seen stands for it. If no response is any good, that is no approximation: a maximum of noise minus its
mean is positive too. The paper wants prompts that are hard and solvable (section 3.2, appendix I.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.config import Config, Estimate, Pair
from eva_data.method.pair import noise
from eva_data.tables.rules import RULES

QUANTILE = 0.1
"""The share of the first prompts that are unsolved if no threshold is known; our choice, the paper has none."""
AT_LEAST = 2
"""Right answers that a prompt needs if rewards are 0 or 1."""


@dataclass(frozen=True)
class Bar:
    """What the responses to a prompt must reach."""

    best: float
    """The least reward of a good response."""
    right: int
    """How many responses must have it."""

    def reached(self, rewards: pl.Expr, rules: int = RULES) -> pl.Expr:
        """Whether a list of rewards has enough good ones. Rewards are compared up to `noise`, as in `pair`."""
        reward = pl.element()
        return rewards.list.eval(self.best - reward <= noise(reward, reward, rules)).list.sum() >= self.right


def threshold(estimate: Estimate, pair: Pair, first_best: pl.Series) -> float | None:
    """The least reward of a good response; None if prompts need none.

    `first_best` are the best rewards of the first prompts, of which `auto` takes the quantile QUANTILE if there is no
    `pair.min_chosen`: the value at that place, so that some prompt has it. Nulls are left out.
    """
    if estimate.min_best != "auto":
        return estimate.min_best
    if pair.min_chosen is not None:
        return pair.min_chosen
    least = first_best.drop_nulls().quantile(QUANTILE, interpolation="lower")
    return None if least is None else float(least)


def bar_of(config: Config, rewards: pl.Series, first_best: pl.Series, *, responses: int) -> Bar | None:
    """The bar for prompts whose `rewards` are given, all prompts together; None if there is none.

    `responses` is the number of responses to a prompt that are compared.
    """
    best = threshold(config.estimate, config.pair, first_best)
    return None if best is None else Bar(best, needed(config.estimate, graded(rewards), responses))


def graded(rewards: pl.Series) -> bool:
    """Whether a finite reward is neither 0 nor 1."""
    finite = rewards.filter(rewards.is_finite().fill_null(False))
    return bool((~finite.is_in([0.0, 1.0])).any())


def needed(estimate: Estimate, is_graded: bool, responses: int) -> int:
    """How many responses must be good. Of two responses one may be wrong, or no prompt would have any advantage."""
    if estimate.min_right is not None:
        return estimate.min_right
    return 1 if is_graded else max(1, min(AT_LEAST, responses - 1))
