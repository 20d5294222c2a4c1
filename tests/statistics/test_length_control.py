"""Length control: planted effects of length, the optimum of the fit, and a comparison with scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from eva_data.errors import DataError
from eva_data.statistics.length_control import FULL, SIMPLE, GamedBaselines, lc_simple, length_controlled, overlap
from eva_data.statistics.logistic import fit, probability
from eva_data.statistics.rates import win_rate


def planted(
    n: int, theta: float, phi: float, psi: float, longer: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Verdicts, lengths of own and baseline responses, difficulties. Own responses are `longer` deviations longer."""
    draw = np.random.Generator(np.random.PCG64(seed))
    difficulty = draw.normal(0, 1, n)
    baseline = draw.integers(500, 3000, n).astype(float)
    own = np.maximum(0, baseline + np.round(draw.normal(longer, 1, n) * 400))
    delta = baseline - own
    chance = probability(theta + phi * np.tanh(delta / delta.std(ddof=1)) + psi * difficulty)
    return (draw.random(n) < chance).astype(float), own, baseline, difficulty


def gamed(n: int, phi: float, psi: float, difficulty: np.ndarray, seed: int) -> GamedBaselines:
    draw = np.random.Generator(np.random.PCG64(seed))
    delta = np.concatenate([draw.normal(-1, 1, n), draw.normal(1, 1, n)])
    hard = np.tile(difficulty, 2)
    return GamedBaselines(probability(phi * np.tanh(delta) + psi * hard + draw.normal(0, 1, 2 * n)), delta, hard)


def test_a_win_rate_that_is_length_alone_is_one_half_at_equal_lengths() -> None:
    scores, own, baseline, _ = planted(4000, theta=0, phi=-2, psi=0, longer=1, seed=1)
    raw, found = win_rate(scores), length_controlled(scores, own, baseline, draws=200)
    assert raw.low > 0.65
    assert found.name == SIMPLE and found.difficulty is None and found.length == pytest.approx(-2, abs=0.3)
    assert found.rate.holds(0.5) and found.rate.width < 0.12


def test_a_better_model_stays_better_at_equal_lengths() -> None:
    # At equal lengths logistic(1) = .7311, whatever the lengths.
    for longer in (-1, 1):
        scores, own, baseline, _ = planted(4000, theta=1, phi=-1.5, psi=0, longer=longer, seed=2)
        found = length_controlled(scores, own, baseline, draws=100).rate
        assert found.estimate == pytest.approx(0.7311, abs=0.03)


def test_the_full_model_finds_what_was_planted_and_has_the_leaderboards_name() -> None:
    scores, own, baseline, hard = planted(3000, theta=-0.5, phi=-1, psi=0.8, longer=1, seed=3)
    found = length_controlled(scores, own, baseline, hard, gamed(3000, -1, 0.8, hard, seed=4), draws=300)
    assert found.name == FULL
    assert (found.theta, found.length, found.difficulty) == pytest.approx((-0.5, -1, 0.8), abs=0.2)
    assert found.rate.holds(float(probability(-0.5 + 0.8 * hard).mean()))
    # The published standard error is that of the predictions: only difficulty moves them.
    predicted = probability(found.theta + (found.difficulty or 0) * hard)
    assert found.standard_error == pytest.approx(predicted.std(ddof=1) / 3000**0.5)


def test_without_gamed_rows_or_difficulties_it_is_never_the_leaderboards_figure() -> None:
    scores, own, baseline, hard = planted(200, 0, -1, 0.5, 0, seed=5)
    assert length_controlled(scores, own, baseline, hard, draws=50).name == SIMPLE
    assert length_controlled(scores, own, baseline, None, gamed(200, -1, 0.5, hard, 6), draws=50).name == SIMPLE


def test_gamed_rows_without_a_verdict_are_left_out() -> None:
    scores, own, baseline, hard = planted(300, 0, -1, 0.5, 0, seed=7)
    rows = gamed(300, -1, 0.5, hard, 8)
    with_null = GamedBaselines(
        np.append(np.asarray(rows.preference), np.nan),
        np.append(np.asarray(rows.length_difference), 9.0),
        np.append(np.asarray(rows.difficulty), 9.0),
    )
    assert length_controlled(scores, own, baseline, hard, with_null, draws=50) == length_controlled(
        scores, own, baseline, hard, rows, draws=50
    )


def test_equal_lengths_leave_the_win_rate_and_one_constant_difference_tells_nothing() -> None:
    scores = np.array([1.0] * 700 + [0.0] * 300)
    equal = length_controlled(scores, np.full(1000, 500), np.full(1000, 500), draws=200)
    assert equal.rate.estimate == pytest.approx(0.7, abs=0.005) and equal.length == 0
    with pytest.raises(DataError, match="differ from the baseline's by 100 characters"):
        length_controlled(scores, np.full(1000, 600), np.full(1000, 500))
    assert lc_simple(scores, np.full(1000, 600), np.full(1000, 500), seed=0) is None
    assert lc_simple([1.0] * 9, range(9), [0] * 9, seed=0) is None


def test_lengths_overlap_where_either_side_is_the_longer_one_at_times() -> None:
    assert overlap([5, 6, 7, 8], [1, 1, 1, 1]) == 0 and overlap([5, 1], [1, 5]) == 1
    # Longer in 1 of 4, equal in 1, shorter in 2: share (1 + .5) / 4 = .375.
    assert overlap([9, 5, 1, 1], [5, 5, 5, 5]) == pytest.approx(0.75)


def test_only_wins_have_a_figure_with_an_interval() -> None:
    found = length_controlled(np.ones(50), np.arange(50) + 100, np.full(50, 90), draws=100)
    assert 0.9 < found.rate.estimate <= 1 and found.rate.low < found.rate.estimate


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="6 preferences and 5 lengths were found"):
        length_controlled([1.0] * 6, [1, 2, 3, 4, 5], [1, 1, 1, 1, 2])


def test_one_intercept_is_the_logit_of_the_mean() -> None:
    # 3 of 4: log(3).
    (found,) = fit([np.ones(4)], np.array([1.0, 1, 1, 0]), np.ones((1, 4)))
    assert found == pytest.approx([np.log(3)])


@pytest.mark.parametrize("l1", [0.0, 0.05, 3.0, 40.0])
def test_every_fit_of_a_batch_is_at_its_own_optimum(l1: float) -> None:
    draw = np.random.Generator(np.random.PCG64(9))
    features = [draw.normal(0, 1, 300), np.ones(300), draw.normal(0, 1, (4, 300))]
    targets, weights = draw.random(300), draw.integers(0, 4, (4, 300)).astype(float)
    found = fit(features, targets, weights, l1=l1)
    design = np.stack([np.broadcast_to(each, (4, 300)) for each in features], axis=2)
    slope = np.einsum("bnp,bn->bp", design, weights * (probability(np.einsum("bnp,bp->bn", design, found)) - targets))
    at_zero = found == 0
    assert np.abs(slope + l1 * np.sign(found))[~at_zero].max(initial=0) < 1e-6
    assert np.abs(slope)[at_zero].max(initial=0) <= l1 + 1e-6
    assert l1 < 40 or at_zero.any()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_the_fit_is_that_of_scikit_learn_as_alpaca_eval_calls_it() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn, whose fit is the reference, is not installed")
    from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped, unused-ignore]

    scores, own, baseline, hard = planted(805, -1, -1.2, 0.7, 0.5, seed=10)
    rows = gamed(805, -1.2, 0.7, hard, seed=11)
    found = length_controlled(scores, own, baseline, hard, rows, draws=20)
    delta = baseline - own
    design = np.column_stack(
        [
            np.tanh(np.concatenate([np.asarray(rows.length_difference), delta / delta.std(ddof=1)])),
            np.concatenate([np.zeros(1610), np.ones(805)]),
            np.concatenate([np.asarray(rows.difficulty), hard]),
        ]
    )
    targets = np.concatenate([np.asarray(rows.preference), scores])
    weights = np.concatenate([np.full(1610, 0.1), np.ones(805)])
    model = LogisticRegression(
        C=1 / found.penalty, l1_ratio=1, solver="liblinear", fit_intercept=False, random_state=123, tol=1e-8
    )
    model.fit(
        np.concatenate([design, design]),
        np.concatenate([np.ones(2415), np.zeros(2415)]),
        sample_weight=np.concatenate([targets * weights, (1 - targets) * weights]),
    )
    assert [found.length, found.theta, found.difficulty] == pytest.approx(model.coef_[0].tolist(), abs=2e-3)
