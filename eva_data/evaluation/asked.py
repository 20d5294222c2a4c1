"""Turns the options of a command into evaluations, and describes them before anything is paid for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from eva_data.config import HELDOUT, EvaluationSet
from eva_data.errors import ConfigError
from eva_data.evaluation.evaluate import Asked, prompts_of, sets_of, settings_of, usual_opponents
from eva_data.evaluation.rule import JudgingRule, rule_called
from eva_data.iteration.run import Run
from eva_data.statistics.power import smallest_difference


def asked_for(
    run: Run, names: Sequence[str], against: Sequence[str], sets: Sequence[str], rule: str | None
) -> list[Asked]:
    """One Asked per solver. Raise ConfigError if a set is unknown."""
    chosen = chosen_sets(run, sets, rule)
    solvers = names or (newest_solver(run),)
    return [Asked(solver, tuple(against) or usual_opponents(solver), chosen) for solver in solvers]


def newest_solver(run: Run) -> str:
    """The theta that was trained last; theta_0 if none was trained."""
    trained = [number for number in run.store.iterations() if run.store.solver_folder(number).exists()]
    return f"theta_{max(trained, default=0)}"


def chosen_sets(run: Run, names: Sequence[str], rule: str | None) -> tuple[EvaluationSet, ...]:
    """The sets with these names, or all sets of the settings. The name of a file becomes a set of its own.

    Raise ConfigError if a name is neither a set nor a file.
    """
    known = {block.name: block for block in sets_of(run)}
    if not names:
        if rule is not None:
            raise ConfigError("`--rule` says how a file of `--set-name` is judged: name the file")
        return tuple(known.values())
    return tuple(_set_called(run, name, known, rule) for name in names)


def _set_called(run: Run, name: str, known: dict[str, EvaluationSet], rule: str | None) -> EvaluationSet:
    if name in known and rule is None:
        return known[name]
    if name == HELDOUT:
        return _made(name=HELDOUT, rule=rule or "own")
    path = Path(name)
    if not path.exists():
        raise ConfigError(
            f"`--set-name` is `{name}`, which is neither a file nor a set of `evaluate.sets` "
            f"({', '.join(known) or 'there are none'}): name one of them"
        )
    usual = "own" if settings_of(run.config).judges else "verifier"
    stem = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in path.stem).lstrip("._-")
    return _made(name=(stem or "prompts")[:64], path=path, rule=rule or usual)


def _made(**values: Any) -> EvaluationSet:
    """A set of these values. Raises ConfigError where its rule is unknown, or another value is wrong."""
    try:
        return EvaluationSet(**values)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, told["loc"])) or "the set"
        raise ConfigError(f"`--{key}` is `{values.get(key)}`: {told['msg']}") from None


def outlook(run: Run, asked: Asked) -> list[str]:
    """What would be asked, and which difference could be seen, one line per set."""
    lines = []
    for block in asked.sets:
        rule = rule_called(block.rule)
        count = prompts_of(run, block, run.note).height
        sides = len({asked.solver, *asked.against})
        answers = f"{count * sides * block.samples * rule.turns} answers of {sides} sides"
        judges = len(settings_of(run.config).judges)
        orders = 2 if rule.kind == "compare" and rule.orders == "both" else 1
        per_judge = count * orders * (len(asked.against) if rule.kind == "compare" else sides * rule.turns)
        verdicts = (
            "the verdicts of a function"
            if rule.kind == "verify"
            else f"{per_judge * judges} verdicts of {judges} judges"
        )
        line = f"{block.name} ({block.rule}): {count} prompts, at most {answers} and {verdicts}"
        lines.append(f"{asked.solver} on {line}{visible_difference(rule, count)}")
    return lines


UNRELATED = math.sqrt(0.5)
"""The standard deviation of differences if both solvers are right half of the time, on prompts that have nothing to do
with one another: the worst case of two that learned from the same prompts."""


def visible_difference(rule: JudgingRule, prompts: int) -> str:
    """The end of a sentence on the smallest difference that so many prompts show; empty for ratings, whose spread is
    not known before they are given."""
    if not prompts or rule.kind == "rate":
        return ""
    if rule.kind == "compare":
        rate = 50 + 100 * smallest_difference(prompts)
        seen = f"a win rate of {rate:.1f} %" if rate <= 100 else "no win rate"
        return f"; it can tell {seen} from 50 % (4 times of 5)"
    points = 100 * smallest_difference(prompts, UNRELATED)
    if points > 100:
        return "; so few prompts tell no two solvers apart"
    return f"; it can tell shares of right answers that are {points:.1f} points apart (4 times of 5)"
