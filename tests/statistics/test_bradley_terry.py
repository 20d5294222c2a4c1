"""Bradley-Terry strengths by hand, with ties, with style, and with several verdicts on a prompt."""

from __future__ import annotations

from math import log

import numpy as np
import polars as pl
import pytest

from eva_data.errors import DataError
from eva_data.statistics.bradley_terry import bradley_terry
from eva_data.statistics.style import FEATURES, differences, features


def test_two_models_have_the_log_odds_of_the_win_rate() -> None:
    # a wins 3 of 4 against the anchor: log 3.
    found = bradley_terry(["a", "a", "b", "a"], ["b", "b", "a", "b"], [1, 1, 0, 0], range(4), "b", draws=200)
    assert found.strength["b"] == 0 and found.strength["a"] == pytest.approx(log(3), abs=0.01)
    assert found.win_rate["a"].estimate == pytest.approx(0.75, abs=0.001)
    assert found.win_rate["a"].low < 0.75 < found.win_rate["a"].high and set(found.win_rate) == {"a"}


def test_a_tie_is_half_a_win_of_each() -> None:
    ties = bradley_terry(["a"] * 4, ["b"] * 4, [1, 0.5, 0.5, 0], range(4), "b", draws=50)
    assert ties.strength["a"] == pytest.approx(0, abs=1e-9)


def test_a_verdict_that_weighs_three_is_three_verdicts() -> None:
    # One strong win, one loss: 3 of 4.
    found = bradley_terry(["a"] * 2, ["b"] * 2, [1, 0], range(2), "b", weights=[3, 1], draws=50)
    assert found.strength["a"] == pytest.approx(log(3), abs=0.01)


def test_strengths_pass_over_a_third_model() -> None:
    # a beats b 3 : 1, b beats c 4 : 1; a never met c, so log 3 + log 4.
    first, second = ["a"] * 4 + ["b"] * 5, ["b"] * 4 + ["c"] * 5
    found = bradley_terry(first, second, [1, 1, 1, 0, 1, 1, 1, 1, 0], range(9), "c", draws=50)
    assert found.strength == pytest.approx({"a": log(3) + log(4), "b": log(4), "c": 0}, abs=0.03)


def test_one_that_never_lost_is_strong_and_finite() -> None:
    found = bradley_terry(["a"] * 20, ["b"] * 20, [1] * 20, range(20), "b", draws=100)
    # 20 of 20: Wilson's lower end is 1 / (1 + 1.96^2 / 20) = .839.
    assert 4 < found.strength["a"] < 20 and found.win_rate["a"].low == pytest.approx(0.839, abs=0.002)


def test_both_orders_of_a_prompt_are_one_prompt() -> None:
    draw = np.random.Generator(np.random.PCG64(1))
    won = (draw.random(80) < 0.6).astype(float)
    once = bradley_terry(["a"] * 80, ["b"] * 80, won, range(80), "b")
    twice = bradley_terry(["a"] * 80 + ["b"] * 80, ["b"] * 80 + ["a"] * 80, [*won, *(1 - won)], [*range(80)] * 2, "b")
    assert twice.win_rate["a"].width == pytest.approx(once.win_rate["a"].width, rel=0.02)
    assert twice.win_rate["a"].n == 80


def test_the_names_of_the_sides_do_not_matter() -> None:
    scores = [1, 0.5, 0, 1, 1]
    one = bradley_terry(["a"] * 5, ["b"] * 5, scores, range(5), "b", draws=100)
    other = bradley_terry(["b"] * 5, ["a"] * 5, [1 - score for score in scores], range(5), "b", draws=100)
    assert one.strength == pytest.approx(other.strength)
    swapped = bradley_terry(["a"] * 5, ["b"] * 5, scores, range(5), "a", draws=100)
    assert swapped.strength["b"] == pytest.approx(-one.strength["a"])


def test_a_win_that_is_style_alone_is_none_at_equal_style() -> None:
    draw = np.random.Generator(np.random.PCG64(2))
    longer = draw.normal(1, 1, 3000)
    won = (draw.random(3000) < 1 / (1 + np.exp(-1.5 * longer))).astype(float)
    raw = bradley_terry(["a"] * 3000, ["b"] * 3000, won, range(3000), "b", draws=100)
    held = bradley_terry(["a"] * 3000, ["b"] * 3000, won, range(3000), "b", longer, draws=100)
    assert raw.win_rate["a"].low > 0.7
    assert held.win_rate["a"].holds(0.5) and held.covariates == pytest.approx((1.5,), abs=0.2)


def test_an_anchor_without_verdicts_is_refused() -> None:
    with pytest.raises(DataError, match="the anchor `c` is in no verdict: name one of a, b"):
        bradley_terry(["a"], ["b"], [1], [0], "c")
    with pytest.raises(DataError, match="differ in length"):
        bradley_terry(["a"], ["b", "b"], [1], [0], "b")


def test_style_counts_markdown_outside_code() -> None:
    text = "# Title\n\n**Bold** and __this__.\n- one\n* two\n1. three\n```\n# no header\n- no item\n```\n"
    frame = pl.DataFrame({"text": [text, "", "a#b ** c **"]}).select(features(pl.col("text")))
    assert frame.to_dict(as_series=False) == {
        "length": [float(len(text)), 0.0, 11.0],
        "headers": [1.0, 0.0, 0.0],
        "bold": [2.0, 0.0, 1.0],
        "lists": [3.0, 0.0, 0.0],
    }


def test_style_differences_are_normalised_and_0_means_the_same_style() -> None:
    # Lengths 3 and 1, 1 and 3, 2 and 2: (a - b) / (a + b) = .5, -.5, 0; deviation .5. Nothing else differs.
    found = differences(pl.Series(["abc", "a", "ab"]), pl.Series(["a", "abc", "cd"]))
    assert FEATURES[0] == "length"
    assert found.tolist() == [[1.0, 0.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
