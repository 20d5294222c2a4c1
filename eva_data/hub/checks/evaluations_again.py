"""Recomputes evaluations for `verify`: compares the files with the record, and the figures with the rows."""

from __future__ import annotations

from typing import Any

import polars as pl

from eva_data.comparing.orders import for_solver
from eva_data.dataset.evaluations import Compared, read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.errors import DataError, EvaError
from eva_data.evaluation.figures import figures_of, plain
from eva_data.evaluation.rule import recorded_rule
from eva_data.evaluation.sentences import sentence_of
from eva_data.hub.checks.as_written import UNREADABLE
from eva_data.own_code import is_own

TOLERANCE = 1e-9
"""Largest relative difference of two figures, since another processor may round differently."""


def verify_evaluations(store: Store) -> tuple[list[str], list[str]]:
    """Errors in the evaluations of a dataset, and facts that could not be checked; both empty without evaluations."""
    try:
        record = read_record(store)
        rows = read_rows(store, record)
    except DataError as error:
        return [f"evaluations: {error}"], []
    if record is None:
        return [], []
    problems, unknown = [], []
    strangers = sorted(set(rows["evaluation"]) - {each.key for each in record.evaluations})
    if strangers:
        problems.append(f"evaluations: rows of {', '.join(strangers)} are in no comparison of the record")
    for each in record.evaluations:
        if is_own(each.rule):
            unknown.append(f"the figures of `{each.set}`, whose rule `{each.rule}` is somebody's own code")
            continue
        if each.gamed is not None:
            unknown.append(f"the length-controlled win rate on `{each.set}`, which needs {each.gamed}")
        try:
            problems += _wrong(each, rows.filter(pl.col("evaluation") == each.key))
        except (EvaError, ImportError, LookupError, TypeError, ArithmeticError, *UNREADABLE) as error:
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            problems.append(f"evaluations: {each.set} of {each.solver_name} cannot be recomputed: {said}")
    return problems, unknown


def _wrong(each: Compared, rows: pl.DataFrame) -> list[str]:
    name = f"evaluations: {each.set} of {each.solver_name}" + (f" against {each.against_name}" if each.against else "")
    found = []
    rule = recorded_rule(each.rule, ())
    if rule.kind == "compare" and rule.scores is not None:
        # Every verdict of a judge has exactly one score.
        asked = rows.filter(pl.col("label").is_not_null())
        worth = for_solver(pl.col("label").replace_strict(rule.scores, default=None, return_dtype=pl.Float64))
        said = pl.coalesce("preference", worth) if rule.tokens else worth
        other = asked.filter(said.is_null() | (said != pl.col("score"))).height
        if other:
            found.append(f"{name}: {other} scores do not follow from their verdicts")
    foreign = rows.filter((pl.col("solver") != each.solver) | ~pl.col("judge").is_in(list(each.judges))).height
    if foreign:
        found.append(f"{name}: {foreign} rows are of another solver or judge than the record says")
    figures = figures_of(each, rows)
    recomputed = plain(figures, sentence_of(figures))
    found += [
        f"{name}: `{key}` is {each.figures.get(key)!r}, and {value!r} follows from the rows"
        for key, value in recomputed.items()
        if not _same(each.figures.get(key), value)
    ]
    return found


def _same(recorded: Any, value: Any) -> bool:
    if isinstance(value, dict) and isinstance(recorded, dict):
        return recorded.keys() == value.keys() and all(_same(recorded[key], value[key]) for key in value)
    if isinstance(value, list) and isinstance(recorded, list):
        return len(value) == len(recorded) and all(map(_same, recorded, value))
    if isinstance(value, float) and isinstance(recorded, int | float):
        return abs(recorded - value) <= TOLERANCE * max(1.0, abs(value))
    return bool(recorded == value)
