"""Tests of paired differences, corrections for several comparisons, power: numbers worked by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_data.errors import DataError
from eva_data.statistics.differences import equivalence_p, holm, sign_flip_p, t_interval
from eva_data.statistics.power import prompts_needed, smallest_difference


def test_students_interval_of_three_seeds() -> None:
    # Mean 2, deviation 1, error 1 / sqrt(3) = .57735, t(2, .975) = 4.302653.
    found = t_interval([1, 2, 3])
    assert (found.estimate, found.low, found.high, found.n) == pytest.approx((2, -0.484138, 4.484138, 3), abs=1e-5)


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3], 2 / 8),  # only +++ and --- are as far from 0
        ([1, 1, 1, 1, 1], 2 / 32),
        ([1, 1, 1, 1, -1], 12 / 32),  # at most one sign differs from the others: 2 * (1 + 5)
        ([0, 0, 0, 1, 2, 3], 2 / 8),  # prompts without a difference decide nothing
        ([0.0, 0.0], 1.0),
        ([5.0], 1.0),
        ([0.5, -0.5, 0.5, -0.5], 1.0),
    ],
)
def test_the_exact_sign_flips(differences: list[float], p: float) -> None:
    assert sign_flip_p(differences) == pytest.approx(p)


def test_many_differences_are_flipped_by_chance_and_agree_with_the_binomial() -> None:
    # 25 wins and 10 losses: two-sided binomial p of 35 coins, 0.01667 by the exact sum.
    assert sign_flip_p([0.5] * 25 + [-0.5] * 10) == pytest.approx(0.01667, abs=0.002)


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=10))
@settings(deadline=None)
def test_the_side_that_is_called_first_does_not_matter(differences: list[float]) -> None:
    assert sign_flip_p(differences) == sign_flip_p([-each for each in differences])


def test_equivalence_by_two_one_sided_tests() -> None:
    # Mean 0, error 1 / sqrt(3): t = 2 / .57735 = 3.4641 with 2 degrees of freedom, one-sided p .03709.
    assert equivalence_p([-1, 0, 1], 2) == pytest.approx(0.03709, abs=1e-4)
    assert equivalence_p([9, 10, 11], 2) > 0.99
    assert (equivalence_p([1, 1], 2), equivalence_p([3, 3], 2)) == (0.0, 1.0)
    with pytest.raises(DataError, match="the margin is 0"):
        equivalence_p([1, 2], 0)


def test_holm_multiplies_the_smallest_by_all_and_never_reverses_the_order() -> None:
    # .01 * 3, .03 * 2, then .04 * 1 = .04 < .06 and so .06.
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({}) == {}
    with pytest.raises(DataError, match="0 to 1 were expected"):
        holm({"a": 1.2})


def test_what_805_prompts_can_see() -> None:
    # (1.959964 + .841621) * .5 / sqrt(805) = .049371.
    assert smallest_difference(805) == pytest.approx(0.049371, abs=1e-6)
    # Bonferroni for two comparisons: z(.9875) = 2.241403.
    assert smallest_difference(805, comparisons=2) == pytest.approx((2.241403 + 0.841621) * 0.5 / 805**0.5, abs=1e-6)


def test_how_many_prompts_a_difference_needs() -> None:
    assert prompts_needed(0.05) == 785  # (2.801585 * .5 / .05)^2 = 784.9
    assert prompts_needed(-0.05) == 785 and prompts_needed(0) is None


@given(st.integers(1, 100_000))
def test_a_difference_that_n_prompts_just_see_needs_n_prompts(n: int) -> None:
    assert prompts_needed(smallest_difference(n)) == n


def test_one_seed_has_no_interval() -> None:
    with pytest.raises(DataError, match="1 difference was found"):
        t_interval([1.0])
