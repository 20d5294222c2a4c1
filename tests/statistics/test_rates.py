"""Win rates and other bounded means: by hand, against Wilson's formula, and properties for all scores."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_data.errors import DataError
from eva_data.statistics.bootstrap import drawn_counts, drawn_means, mean_difference, rate_of_draws
from eva_data.statistics.interval import Interval
from eva_data.statistics.rates import bounded_mean, rate_difference, win_rate

Z = 1.959963984540054

HALVES = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=1, max_size=40)
ANY = st.lists(st.floats(0, 1), min_size=1, max_size=40)


def wilson(wins: int, n: int) -> tuple[float, float]:
    p, below = wins / n, 1 + Z * Z / n
    half = Z * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / below
    return (p + Z * Z / (2 * n)) / below - half, (p + Z * Z / (2 * n)) / below + half


@pytest.mark.parametrize(
    ("wins", "n"), [(0, 1), (1, 1), (8, 10), (50, 100), (97, 100), (100, 100), (0, 805), (403, 805)]
)
def test_the_interval_of_wins_and_losses_is_wilsons(wins: int, n: int) -> None:
    found = win_rate([1.0] * wins + [0.0] * (n - wins))
    low, high = wilson(wins, n)
    assert (found.estimate, found.low, found.high, found.n) == pytest.approx((wins / n, low, high, n), abs=1e-9)


def test_eight_of_ten_by_hand() -> None:
    # p = .8, z^2 = 3.8415: centre (.8 + .19207) / 1.38415 = .71674, half 1.96 sqrt(.016 + .0096037) / 1.38415 = .22658.
    found = win_rate([1] * 8 + [0] * 2)
    assert (found.low, found.high) == pytest.approx((0.49016, 0.94332), abs=1e-5)


def test_a_score_is_the_mean_of_both_orders_and_a_tie_is_half() -> None:
    both_orders = [(1, 1), (1, 0), (0.5, 0.5), (0, 0.5)]
    assert win_rate([sum(pair) / 2 for pair in both_orders]).estimate == pytest.approx((1 + 0.5 + 0.5 + 0.25) / 4)


def test_ties_narrow_the_interval_and_ties_alone_still_have_one() -> None:
    decided, tied = win_rate([1, 0] * 50), win_rate([1, 0] * 25 + [0.5] * 50)
    assert tied.width < 0.8 * decided.width
    alone = win_rate([0.5] * 100)
    assert alone.estimate == 0.5 and 0.45 < alone.low < 0.49 and alone.high == pytest.approx(1 - alone.low)


def test_weights_of_equal_size_change_nothing_and_a_prompt_of_weight_0_only_its_absence() -> None:
    scores = [1.0, 0.5, 0.0, 1.0, 0.75]
    assert vars(win_rate(scores, [3] * 5)) == pytest.approx(vars(win_rate(scores)))
    without = win_rate(scores[:4], [1, 2, 2, 1])
    assert vars(win_rate(scores, [1, 2, 2, 1, 0])) == pytest.approx(vars(without) | {"n": 5})


def test_a_mean_weights_its_prompts_and_counts_fewer_of_them() -> None:
    # Kish: (1 + 1 + 2)^2 / (1 + 1 + 4) = 2.67 prompts.
    weighted = win_rate([1, 0, 1], [1, 1, 2])
    assert weighted.estimate == pytest.approx(0.75)
    assert weighted.width > win_rate([1, 0, 1, 1]).width


def test_grades_from_1_to_10_are_the_same_on_their_scale() -> None:
    grades = [1, 10, 10, 5.5]
    assert vars(bounded_mean(grades, 1, 10)) == pytest.approx(vars(win_rate([0, 1, 1, 0.5]).stretched(9, 1)))


def test_two_accuracies_differ_by_the_prompts_on_which_they_differ() -> None:
    found = rate_difference([1, 1, 1, 0], [1, 0, 1, 0])
    assert found.estimate == 0.25 and -1 <= found.low < 0 < found.high <= 1
    assert vars(rate_difference([1, 0, 1, 0], [1, 1, 1, 0])) == pytest.approx(
        {"estimate": -0.25, "low": -found.high, "high": -found.low, "n": 4}
    )


@given(HALVES | ANY)
@settings(deadline=None)
def test_the_other_side_has_one_minus_the_win_rate(scores: list[float]) -> None:
    swapped = win_rate([1 - score for score in scores])
    assert vars(swapped) == pytest.approx(vars(win_rate(scores).other_side()), abs=1e-6)


@given(HALVES, st.randoms())
@settings(deadline=None)
def test_the_order_of_the_rows_does_not_matter(scores: list[float], chance: object) -> None:
    shuffled = scores.copy()
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert vars(win_rate(shuffled)) == pytest.approx(vars(win_rate(scores)), abs=1e-9)


@given(ANY)
@settings(deadline=None)
def test_the_estimate_lies_in_its_interval_and_that_in_the_scale(scores: list[float]) -> None:
    found = win_rate(scores)
    assert 0 <= found.low <= found.estimate + 1e-9 and found.estimate - 1e-9 <= found.high <= 1


@given(HALVES)
@settings(deadline=None)
def test_equal_sides_give_one_half(scores: list[float]) -> None:
    both = scores + [1 - score for score in scores]
    found = win_rate(both)
    assert found.estimate == pytest.approx(0.5) and found.low == pytest.approx(1 - found.high, abs=1e-6)


@given(HALVES)
@settings(deadline=None)
def test_twice_the_prompts_narrow_the_interval(scores: list[float]) -> None:
    assert win_rate(scores * 2).width < win_rate(scores).width


@pytest.mark.parametrize(
    ("scores", "weights", "message"),
    [
        ([], None, "no scores to compute with"),
        ([0.5, float("nan")], None, "1 of 2 scores are missing or not finite"),
        ([1.5], None, "scores from 1.5 to 1.5 were found, 0 to 1 were expected"),
        ([1.0, 0.0], [1.0], "1 weights were found on one side and 2 on the other"),
        ([1.0, 0.0], [0.0, 0.0], "the weights are all 0"),
        ([1.0, 0.0], [-1.0, 2.0], "weights from -1 to 2 were found"),
    ],
)
def test_what_is_unknown_or_off_the_scale_is_no_score(
    scores: list[float], weights: list[float] | None, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        win_rate(scores, weights)


def test_a_draw_takes_as_many_prompts_as_there_are_and_the_seed_decides_which() -> None:
    counts = drawn_counts(7, draws=50, seed=3)
    assert counts.shape == (50, 7) and (counts.sum(axis=1) == 7).all()
    assert (counts == drawn_counts(7, draws=50, seed=3)).all() and (counts != drawn_counts(7, draws=50, seed=4)).any()
    means = drawn_means([3.0, 1.0, 2.0], seed=5)
    assert (means == drawn_means([1.0, 2.0, 3.0], seed=5)).all() and means.mean() == pytest.approx(2, abs=0.05)


def test_the_draws_of_a_rate_are_worth_so_many_verdicts() -> None:
    # Variance .0016 of .8: worth .8 * .2 / .0016 = 100 verdicts, so Wilson's of 80 in 100.
    drawn = [0.8 - 0.04 * sqrt(0.5), 0.8 + 0.04 * sqrt(0.5)]
    low, high = wilson(80, 100)
    found = rate_of_draws(0.8, drawn, 805)
    assert vars(found) == pytest.approx(vars(Interval(0.8, low, high, 805)))
    assert vars(rate_of_draws(1.0, [1.0, 1.0], 100)) == pytest.approx(vars(Interval(1.0, *wilson(100, 100), 100)))


def test_the_studentised_bootstrap_of_a_normal_sample_is_about_students_interval() -> None:
    sample = np.random.Generator(np.random.PCG64(1)).normal(2, 3, 200)
    found = mean_difference(sample, np.zeros(200))
    half = 1.972 * sample.std(ddof=1) / sqrt(200)
    assert (found.low, found.high) == pytest.approx((sample.mean() - half, sample.mean() + half), abs=0.08)


def test_a_constant_difference_is_a_point_and_one_pair_none() -> None:
    assert mean_difference([3, 4, 5], [1, 2, 3]) == Interval(2.0, 2.0, 2.0, 3)
    with pytest.raises(DataError, match="1 pair of values was found"):
        mean_difference([3], [1])
