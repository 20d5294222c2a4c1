"""What a record of evaluations says, for tables, lines and pictures; a stranger may have written the record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from eva_data.dataset.evaluations import Compared, EvaluationRecord

Ends: TypeAlias = tuple[float, float, float]
"""An estimate with the low and the high end of its interval."""

NO_SHARES = ("rating", "reward")
"""The units of figures that are no shares from 0 to 1."""


def ends_of(value: object) -> Ends | None:
    """An estimate with its ends; None for any other value of the record."""
    if not isinstance(value, list) or len(value) != 3 or not all(isinstance(each, int | float) for each in value):
        return None
    return value[0], value[1], value[2]


def unit_of(each: Compared) -> str:
    """What the figures are: a win rate, a share of right answers, or a rating."""
    return str(each.figures.get("unit", "score"))


def shown(ends: Ends | None, unit: str) -> str | None:
    """An estimate with its interval as it is read, a share as a percentage; None without an estimate."""
    if ends is None:
        return None
    if unit in NO_SHARES:
        return f"{ends[0]:z.2f} [{ends[1]:z.2f}, {ends[2]:z.2f}]"
    return f"{100 * ends[0]:z.1f} % [{100 * ends[1]:z.1f}, {100 * ends[2]:z.1f}]"


def warnings_of(each: Compared) -> list[str]:
    """What a reader of a comparison has to know."""
    found = each.figures.get("warnings")
    return [str(warning) for warning in found] if isinstance(found, list) else []


def contamination_of(each: Compared) -> str | None:
    """The sentence on prompts of the set that repeat training texts; None without a check."""
    found = each.figures.get("contamination")
    text = found.get("sentence") if isinstance(found, dict) else None
    return f"{each.solver_name}: {text}" if isinstance(text, str) else None


def card_rows(made: Sequence[Compared]) -> list[dict[str, Any]]:
    """One row per comparison for the table of a card."""
    return [
        {
            "set": each.set,
            "rule": each.rule,
            "source": each.source,
            "solver": each.solver_name,
            "theta": each.theta,
            "against": each.against_name,
            "unit": unit_of(each),
            "estimate": shown(ends_of(each.figures.get("estimate")), unit_of(each)) or "none",
            "judged": judged if isinstance(judged := each.figures.get("judged"), int) else None,
            "prompts": each.prompts,
            "judges": list(each.judges),
            "sentence": str(each.figures.get("sentence") or ""),
            "not_comparable": [str(reason) for reason in each.figures.get("not_comparable") or []],
            "contamination": contamination_of(each),
            "warnings": warnings_of(each),
        }
        for each in made
    ]


def of_theta(record: EvaluationRecord | None, theta: int) -> list[Compared]:
    """The comparisons of theta_t and, on the same prompts, of the thetas before it; none if theta_t has none."""
    made = record.evaluations if record else ()
    sets = {(each.set, each.prompts_hash) for each in made if each.theta == theta}
    known = [each for each in made if each.theta is not None and each.theta <= theta]
    return [each for each in known if (each.set, each.prompts_hash) in sets]


def by_set(record: EvaluationRecord | None) -> dict[str, list[Compared]]:
    """The comparisons by one rule on each set of prompts, by the set's name; others of the same name have a number."""
    found: dict[tuple[str, str, str], list[Compared]] = {}
    for each in record.evaluations if record else ():
        found.setdefault((each.set, each.prompts_hash, each.rule), []).append(each)
    named: dict[str, list[Compared]] = {}
    for (name, _, _), made in found.items():
        number = sum(other == name or other.startswith(f"{name} (") for other in named)
        named[f"{name} ({number + 1})" if number else name] = made
    return named


def theta_lines(made: Sequence[Compared]) -> dict[str, list[tuple[int, float, float, float]]]:
    """Of a set's comparisons the estimates theta by theta, one line for each other side; none with a single theta.

    The comparisons of each theta with the theta before it are a line too.
    """
    lines: dict[str, list[tuple[int, float, float, float]]] = {}
    for each in made:
        ends = ends_of(each.figures.get("estimate"))
        if each.theta is None or ends is None:
            continue
        against = [f"against {each.against_name}" if each.against_name else "by itself"]
        if each.theta and each.against_name == f"theta_{each.theta - 1}":
            against.append("against the theta before")
        for label in against:
            lines.setdefault(label, []).append((each.theta, *ends))
    return {label: sorted(points) for label, points in lines.items() if len({point[0] for point in points}) > 1}


def longest_lines(made: Sequence[Compared], most: int) -> tuple[dict[str, list[tuple[int, float, float, float]]], str]:
    """The `most` lines of `theta_lines` with the most thetas, and what a caption says if there are more."""
    lines = theta_lines(made)
    longest = sorted(lines, key=lambda label: -len(lines[label]))[:most]
    said = f", against {most} of {len(lines)} other sides" if len(lines) > most else ""
    return {label: lines[label] for label in lines if label in longest}, said


def has_lines(record: EvaluationRecord | None) -> bool:
    """Whether any set was evaluated with more than one theta."""
    return any(theta_lines(made) for made in by_set(record).values())
