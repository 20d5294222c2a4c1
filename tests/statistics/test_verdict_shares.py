"""pass@k, shares of prompts, judges: numbers worked by hand."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_data.errors import DataError
from eva_data.statistics.judges import cohen_kappa, effective_judges
from eva_data.statistics.pass_at_k import mean_at_k, pass_at_k
from eva_data.statistics.shares import first_position_share, flip_rate, share


def test_pass_at_k_by_hand() -> None:
    # 5 responses, 2 correct: 1 - C(3, 2) / C(5, 2) = .7; none correct: 0.
    assert pass_at_k([5, 5], [2, 0], 2).estimate == pytest.approx(0.35)
    assert pass_at_k([200], [200], 100).estimate == 1 and pass_at_k([4], [2], 3).estimate == 1
    assert mean_at_k([5, 4], [2, 4]).estimate == pytest.approx(0.7)


@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
@settings(deadline=None)
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_response(case: tuple[int, int, int]) -> None:
    n, c, k = case
    subsets = list(combinations(range(n), k))
    solved = sum(any(place < c for place in subset) for subset in subsets)
    assert pass_at_k([n], [c], k).estimate == pytest.approx(solved / len(subsets))


def test_fewer_responses_than_k_are_refused() -> None:
    with pytest.raises(DataError, match="pass@3 was asked for and a prompt has 2 responses"):
        pass_at_k([5, 2], [1, 1], 3)
    with pytest.raises(DataError, match="more correct responses than responses"):
        mean_at_k([2], [3])


def test_a_verdict_flips_when_the_order_changes_who_is_preferred() -> None:
    # The same side's score, shown first and shown second: kept, flipped, a tie that becomes a win, kept probability.
    first, second = [1, 1, 0.5, 0.9], [1, 0, 1, 0.6]
    assert flip_rate(first, second).estimate == 0.5
    # Verdicts for what was shown first: 1 and 0, 1 and 1, .5 and 0, .9 and .4.
    assert first_position_share(first, second).estimate == pytest.approx((0.5 + 1 + 0.25 + 0.65) / 4)


def test_a_judge_who_always_says_first_is_found() -> None:
    found = first_position_share([1] * 30, [0] * 30)
    assert found.estimate == 1 and found.low > 0.88
    assert flip_rate([1] * 30, [0] * 30).estimate == 1


def test_a_judge_without_bias_has_an_interval_around_one_half_that_knows_of_pairs() -> None:
    # Each prompt's two verdicts name the same side, so exactly one of them is first: no doubt is left but the atoms'.
    paired = first_position_share([1, 0] * 50, [1, 0] * 50)
    assert paired.estimate == 0.5 and paired.width < share(100, 200).width / 3


def test_shares_of_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="0 of 0 were found"):
        share(0, 0)


def test_kappa_of_two_judges_by_hand() -> None:
    # Agreement 3 of 4; by chance (2 * 1 + 2 * 3) / 16 = .5; (.75 - .5) / .5.
    assert cohen_kappa(list("aabb"), list("abbb")) == pytest.approx(0.5)
    assert cohen_kappa(["a", "a"], ["a", "a"]) is None
    with pytest.raises(DataError, match="1 and 2 verdicts were found"):
        cohen_kappa(["a"], ["a", "b"])


def test_judges_who_always_agree_are_one_and_unrelated_ones_are_all() -> None:
    assert effective_judges([[0, 1, 1, 0]] * 3) == pytest.approx(1)
    assert effective_judges([[0, 0, 1, 1], [0, 1, 0, 1]]) == pytest.approx(2)
    # Correlations 1, 0, 0: 3 / (1 + 2 / 3) = 1.8.
    assert effective_judges([[0, 0, 1, 1], [0, 0, 1, 1], [0, 1, 0, 1]]) == pytest.approx(1.8)
    assert effective_judges([[0, 1], [1, 0]]) == 2  # they contradict each other: at most as many as there are
    assert effective_judges([[1, 1, 1], [0, 1, 0]]) is None
