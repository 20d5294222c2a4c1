"""Pairs of earlier iterations are drawn by a hash of seed and row."""

from __future__ import annotations

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from eva_data.method.replay import replayed

PAIRS = pl.DataFrame({"pair_id": [f"{number:032x}" for number in range(40)]})


def drawn(table: pl.DataFrame, **changes: float) -> list[str]:
    values = {"share": 0.25, "seed": 42, "into": 3, "iteration": 1} | changes
    return replayed(table.lazy(), **values).collect()["pair_id"].to_list()  # type: ignore[arg-type]


@given(share=st.sampled_from([0, 0.01, 0.0125, 0.1, 0.25, 1 / 3, 0.9875, 1]), order=st.permutations(range(40)))
def test_the_share_is_drawn_whatever_the_order_of_the_rows(share: float, order: list[int]) -> None:
    found = drawn(PAIRS, share=share)
    counts = {0: 0, 0.01: 0, 0.0125: 1, 0.1: 4, 0.25: 10, 1 / 3: 13, 0.9875: 40, 1: 40}
    assert len(found) == len(set(found)) == counts[share]
    assert drawn(PAIRS[order], share=share) == found


def test_each_theta_seed_and_iteration_draws_anew() -> None:
    draws = [drawn(PAIRS, **changes) for changes in ({}, {"seed": 1}, {"into": 4}, {"iteration": 2})]
    assert len({tuple(found) for found in draws}) == 4


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    assert set(drawn(PAIRS, share=0.1)) < set(drawn(PAIRS, share=0.5))
