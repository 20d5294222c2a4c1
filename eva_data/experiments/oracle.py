"""A perfect creator for the sandbox: the world itself adds one operation to a puzzle.

    evolve: {method: "eva_data.experiments.oracle:one_more_operation"}

No model is asked. An arm with it in a sweep is a ceiling: what evolving could reach if every rewrite were a puzzle one
operation deeper than its parent.
"""

from __future__ import annotations

from random import Random

from eva_data.evolve.parse import bare
from eva_data.evolve.strategy import Method, Strategy
from eva_data.sandbox.world import MAX_DEPTH, depth, extend, parse, render

_TRIES = 20
"""An operation may end in an empty or too long result; another is then drawn."""


def one_more_operation() -> Method:
    """A method with one strategy: the parent's operations in other words, and one more after them."""
    return Method(
        "one_more_operation", (Strategy("operation", "in_depth", "{prompt}", "{prompt}", bare, compose=deeper),)
    )


def deeper(prompt: str, draw: float) -> str | None:
    """The puzzle with one more operation; None if it is no puzzle, or has the most operations already."""
    task = parse(prompt)
    if task is None or depth(task) >= MAX_DEPTH:
        return None
    rng = Random(draw)
    longer = next((found for _ in range(_TRIES) if (found := extend(task, rng)) is not None), None)
    return None if longer is None else render(longer, rng)
