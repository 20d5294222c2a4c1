"""Finds scorers that evaluate text as Python, so that a response, or a row of a foreign table, could run code."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

_EVALUATORS = frozenset({"eval", "exec", "compile"})
_SYMPYS = frozenset({"parse_expr", "sympify", "S"})
"""Functions of sympy that evaluate their text."""


def evaluates(function: Callable[..., Any], owner: type, library: str) -> bool:
    """Whether a method of `owner`, or anything of the same library that it calls, evaluates text.

    The source is read and not run. Calls are followed by name: functions of a module, methods of `self`, and the
    methods of classes that are made.
    """
    return any(_evaluates_itself(each) for each in _reached(function, owner, library, set()))


def _reached(
    function: Callable[..., Any], owner: type, library: str, seen: set[Callable[..., Any]]
) -> Iterator[Callable[..., Any]]:
    if function in seen:
        return
    seen.add(function)
    yield function
    for target in _called(function, owner):
        if not f"{getattr(target, '__module__', '')}.".startswith(f"{library}."):
            continue
        if inspect.isclass(target):
            for method in filter(inspect.isfunction, vars(target).values()):
                yield from _reached(method, target, library, seen)
        elif inspect.isfunction(target):
            yield from _reached(target, owner, library, seen)


def _called(function: Callable[..., Any], owner: type) -> Iterator[Any]:
    known = function.__globals__ if inspect.isfunction(function) else {}
    for called in _calls(function):
        if isinstance(called, ast.Name):
            yield known.get(called.id)
        elif isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            place = owner if called.value.id in ("self", "cls") else known.get(called.value.id)
            yield getattr(place, called.attr, None)


def _evaluates_itself(function: Callable[..., Any]) -> bool:
    known = function.__globals__ if inspect.isfunction(function) else {}
    for called in _calls(function):
        if isinstance(called, ast.Name) and called.id in _EVALUATORS and called.id not in known:
            return True
        name = called.id if isinstance(called, ast.Name) else getattr(called, "attr", "")
        if name in _SYMPYS:
            ours = known.get(name) if isinstance(called, ast.Name) else None
            if ours is None or str(getattr(ours, "__module__", "")).startswith("sympy"):
                return True
    return False


def _calls(function: Callable[..., Any]) -> Iterator[ast.expr]:
    """What each call in a function's source calls. A function without source counts as one that calls nothing."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node.func
