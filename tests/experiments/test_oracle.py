"""The perfect creator of the sandbox."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.experiments.oracle import deeper, one_more_operation
from eva_data.sandbox.world import draw_task, parse, render


@given(st.integers(1, 4), st.integers(), st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_puzzle_gets_one_more_operation_and_keeps_the_others(depth: int, seed: int, draw: float) -> None:
    rng = Random(seed)
    task = draw_task(depth, rng)
    longer = parse(deeper(render(task, rng), draw) or "")
    assert longer is not None
    assert longer.source == task.source
    assert longer.operations[:-1] == task.operations


@pytest.mark.parametrize(
    "prompt",
    [
        "Name a river.",
        "",
        "Write the word tiger backwards, then repeat it, then repeat it.",
        render(draw_task(5, Random(1))),
    ],
    ids=["other", "empty", "twice", "deepest"],
)
def test_what_is_no_puzzle_or_has_five_operations_is_not_rewritten(prompt: str) -> None:
    assert deeper(prompt, 0.5) is None


def test_the_method_asks_no_model() -> None:
    (strategy,) = one_more_operation().strategies
    assert (strategy.name, strategy.compose) == ("operation", deeper)
