"""Strengths from verdicts: hand-worked numbers, responses that win all, verdicts that are missing, equal responses."""

from __future__ import annotations

from math import log, sqrt

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.method.signals.strengths import strengths
from eva_data.method.signals.tournament import tournament_rewards
from eva_data.tables.schemas import COMPARISONS, RESPONSES, conform


def test_two_responses_have_the_strengths_of_the_equation() -> None:
    # 4.75 of 5 comparisons are won. With x = e^s: 4.75 - 5 x^2 / (1 + x^2) = x / (1 + x) - 1/2 holds for x = 3.
    strength, error = strengths([[[0, 4.75], [0.25, 0]]])
    np.testing.assert_allclose(strength, [[log(3), -log(3)]], atol=1e-12)
    # Along the difference the curvature is 2 * 5 * .9 * .1 + .75 * .25, and half of its inverse belongs to each.
    np.testing.assert_allclose(error, [[sqrt(0.5 / 1.0875)] * 2], atol=1e-12)


def test_a_response_that_wins_all_has_a_finite_strength() -> None:
    # 0 beats 1 and 2, 1 beats 2, once each. By symmetry s_1 = 0, and x = e^s_0 solves x^3 - 3 x^2 - x - 5 = 0.
    strength, _ = strengths([[[0, 1, 1], [0, 0, 1], [0, 0, 0]]])
    x = float(np.exp(strength[0, 0]))
    assert abs(x**3 - 3 * x**2 - x - 5) < 1e-9
    np.testing.assert_allclose(strength[0], [log(x), 0, -log(x)], atol=1e-12)
    # The same verdicts of ten judges say more.
    more, error = strengths([[[0, 10, 10], [0, 0, 10], [0, 0, 0]]])
    assert more[0, 0] > strength[0, 0]
    assert np.isfinite(error).all()


def test_what_no_comparison_links_with_the_largest_group_has_no_strength() -> None:
    wins = np.zeros((1, 5, 5))
    wins[0, 0, 1] = wins[0, 2, 3] = wins[0, 3, 4] = 1
    strength, error = strengths(wins)
    assert np.isnan(strength[0]).tolist() == [True, True, False, False, False]
    assert np.isnan(error[0]).tolist() == [True, True, False, False, False]
    assert abs(strength[0, 2:].sum()) < 1e-12


@given(st.integers(2, 5).flatmap(lambda n: st.lists(st.integers(0, 4), min_size=n * n, max_size=n * n)))
def test_the_gradient_is_zero_and_the_order_of_responses_does_not_matter(points: list[int]) -> None:
    count = round(sqrt(len(points)))
    wins = np.array(points, dtype=float).reshape(1, count, count) + 0.25
    wins[0][np.diag_indices(count)] = 0
    (strength,), (error,) = strengths(wins)
    (turned,), (turned_error,) = strengths(wins[:, ::-1, ::-1])
    np.testing.assert_allclose(turned[::-1], strength, atol=1e-9)
    np.testing.assert_allclose(turned_error[::-1], error, atol=1e-9)
    assert abs(strength.sum()) < 1e-9


def responses(*texts: str) -> pl.DataFrame:
    rows = pl.DataFrame({"prompt_id": "p", "response_idx": range(len(texts)), "response": texts})
    return conform(rows, RESPONSES)


def verdicts(*rows: tuple[str, int, int, str | None]) -> pl.DataFrame:
    """COMPARISONS from (judge, first, second, verdict)."""
    found = pl.DataFrame(rows, schema=["judge", "first_idx", "second_idx", "verdict"], orient="row")
    reason = pl.when(pl.col("verdict").is_null()).then(pl.lit("unparsable: the last line is no verdict"))
    return conform(
        found.with_columns(prompt_id=pl.lit("p"), stage=pl.lit("respond"), round=1, reason=reason), COMPARISONS
    )


def rewards(given: pl.DataFrame, said: pl.DataFrame) -> pl.DataFrame:
    return tournament_rewards(given, said).drop("prompt_id")


def expected(reward: list[float | None], error: list[float | None], reason: list[str | None]) -> pl.DataFrame:
    schema = {"response_idx": pl.Int32, "reward": pl.Float64, "reward_se": pl.Float64, "reason": pl.String}
    return pl.DataFrame([range(len(reward)), reward, error, reason], schema=schema)


def test_the_verdicts_of_a_panel_count_alike_and_a_tie_in_one_order_is_three_quarters() -> None:
    said = [(judge, *shown) for judge in "abcd" for shown in ((0, 1, "first"), (1, 0, "second"))]
    found = rewards(responses("good", "bad"), verdicts(*said, ("e", 0, 1, "first"), ("e", 1, 0, "tie")))
    error = sqrt(0.5 / 1.0875)
    assert_frame_equal(found, expected([log(3), -log(3)], [error, error], [None, None]))


def test_a_verdict_that_turns_with_the_order_is_a_tie() -> None:
    found = rewards(responses("a", "b"), verdicts(("j", 0, 1, "first"), ("j", 1, 0, "first")))
    # The curvature along the difference is 2 * .25 + .25.
    error = sqrt(0.5 / 0.75)
    assert_frame_equal(found, expected([0.0, 0.0], [error, error], [None, None]))


def test_half_a_comparison_does_not_count_and_says_what_is_missing() -> None:
    said = verdicts(("j", 0, 1, "first"), ("j", 1, 0, "second"), ("j", 0, 2, "first"), ("j", 2, 0, None))
    found = rewards(responses("a", "b", "c"), said)
    x = float(np.exp(found["reward"][0]))
    # One win of one: 1 / (1 + x^2) = (x - 1) / (2 (1 + x)).
    assert abs(x**3 - x**2 - x - 3) < 1e-9
    np.testing.assert_allclose(found["reward"].to_list()[:2], [log(x), -log(x)], atol=1e-12)
    assert found["reward"][2] is None
    assert found["reason"].to_list() == [None, None, "unparsable: the last line is no verdict"]


def test_equal_responses_have_the_reward_of_one_and_alone_they_have_none() -> None:
    found = rewards(responses("a", "b", "a"), verdicts(("j", 0, 1, "first"), ("j", 1, 0, "second")))
    assert found["reward"][0] == found["reward"][2] == -found["reward"][1]
    alone = rewards(responses("a", "a"), verdicts())
    assert_frame_equal(alone, expected([None, None], [None, None], ["nothing_to_compare"] * 2))
    apart = rewards(responses("a", "b"), verdicts())
    assert_frame_equal(apart, expected([None, None], [None, None], ["not_compared"] * 2))
