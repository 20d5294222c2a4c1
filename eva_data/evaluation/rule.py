"""The parts of a rule of evaluation. Each module of `rules` holds a rule, `RULE`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import polars as pl

from eva_data.comparing.verdict import Read
from eva_data.config.choices import modules_of
from eva_data.errors import DataError
from eva_data.own_code import is_own, load_function


@dataclass(frozen=True)
class Leaderboard:
    """What the published figures of a rule rest on."""

    name: str
    judge: str | None
    """The judge; None where the published figures are of several."""
    baseline: str | None
    """The side that all others are compared with; None if there are several, or answers are rated one by one."""
    prompts: int


LIKELIEST = 5
"""How many of the likeliest first tokens a judge is asked for: as many as AlpacaEval asks for."""


@dataclass(frozen=True)
class JudgingRule:
    """A rule by which answers to a set are judged."""

    kind: Literal["compare", "rate", "verify"]
    """`compare` shows two answers to a judge, `rate` shows one answer, and `verify` calls a function."""
    source: str
    """The publication of the rule, or a note that it is eva-data's own."""
    template: str = ""
    """The question, in words of eva-data's own, with the places `{prompt}`, `{reference}`, `{checklist}` and `{first}`
    and `{second}`, or `{response}`."""
    read: Read | None = None
    """Gives the label of a reply; None if no model is asked."""
    scores: Mapping[str, float] | None = None
    """Label -> score, in [0, 1], of the answer that was shown first; None if the label is a rating."""
    tokens: tuple[str, str] | None = None
    """The words for the answer shown first and for the other, if the score is the judge's probability of the first. A
    judge without log-probabilities is read by `scores`."""
    weights: Mapping[str, float] | None = None
    """Label -> how many verdicts it counts for, 1 if it is not named. With weights the rate is that of all verdicts, by
    Bradley and Terry's model, and not the mean of the prompts' scores."""
    style: bool = False
    """Whether a rate with style held constant is computed too."""
    leaderboard: Leaderboard | None = None
    """What the published figures rest on; None if there are none."""
    orders: Literal["both", "drawn"] = "both"
    """Whether each comparison is asked in both orders, or in one order that is drawn per prompt."""
    draw: Callable[[pl.Series], pl.Series] | None = None
    """For `drawn`: from the text of each prompt to whether the solver's answer is shown first."""
    turns: int = 1
    """Number of user turns of a prompt."""
    lowest: float = 0
    highest: float = 1
    """The scale of a rating."""
    needs: tuple[str, ...] = ()
    """Columns without which a set cannot be judged: `checklist`, `reference`."""
    guide: Mapping[str, Any] | None = None
    """The field of a request by which a server guides the decoding."""
    max_tokens: int = 2048
    """Longest reply of a judge, in tokens."""


def rule_called(name: str) -> JudgingRule:
    """The rule of that name in the settings, or the user's own `my_module:rule`."""
    if is_own(name):
        found: JudgingRule = load_function(name, "evaluate.sets.rule")()
        return found
    rule: JudgingRule = import_module(f"eva_data.evaluation.rules.{name}").RULE
    return rule


def recorded_rule(name: str, own_rules: Collection[str]) -> JudgingRule:
    """The rule of that name in a record of evaluations, which a stranger may have written.

    Raise DataError if there is no such rule, or if it is somebody's own function and not one of `own_rules`.
    """
    if name not in modules_of("evaluation/rules") and name not in own_rules:
        raise DataError(
            f"the rule `{name[:100]}` of an evaluation is none of eva-data and none of `evaluate.sets`, so it is not "
            "run: name it there if it is yours"
        )
    return rule_called(name)
