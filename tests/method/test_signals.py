"""Signals beside the rewards: regret by log-ratios, and difficulty by answers, pass rates and progress."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.method.signals.difficulty import answer_entropy, difficulty, disagreement, pass_rate_closeness
from eva_data.method.signals.log_ratio import kl_regret, log_ratio_signals
from eva_data.method.signals.own_metric import own_metric
from eva_data.tables.metrics import a_avg
from eva_data.tables.schemas import RESPONSES, conform


def value_of(expression: pl.Expr, **lists: Sequence[float | None]) -> float | None:
    found: float | None = pl.DataFrame({name: [values] for name, values in lists.items()}).select(expression).item()
    return found


def test_log_ratios_give_the_numbers_of_equations_8_to_11() -> None:
    rows = [
        # The best has the log-ratio -1 - (-2) = 1, the worst -5 - (-3) = -2.
        *[("a", 0, 2.0, -1.0, -2.0), ("a", 1, 0.0, -5.0, -3.0), ("a", 2, None, -1.0, -1.0)],
        *[("b", 0, 1.0, -1.0, -1.0), ("b", 1, 0.0, None, -1.0)],
        *[("c", 0, 1.0, -1.0, -1.0), ("c", 1, 1.0, -4.0, -2.0)],
    ]
    names = ["prompt_id", "response_idx", "reward", "log_prob", "log_prob_reference"]
    scored = pl.LazyFrame(rows, schema=names, orient="row")
    # With beta 0.5 the weights of "a" are exp(4 - 1) and exp(0 + 2).
    optimum = 2 * math.exp(3) / (math.exp(3) + math.exp(2))
    assert_frame_equal(
        log_ratio_signals(scored, beta=0.5).collect(),
        pl.DataFrame(
            {
                "prompt_id": ["a", "b", "c"],
                "contrastive_ratio": [3.0, None, 2.0],
                "implied_advantage": [1.5, None, 1.0],
                "kl_regret": [optimum - 1.0, None, 0.0],
            }
        ),
    )


REWARDS = st.lists(st.floats(-5, 5), min_size=2, max_size=6)


@given(REWARDS, st.floats(-20, 0))
def test_where_the_solver_is_its_base_the_regret_lies_between_nothing_and_a_avg(
    rewards: list[float], ratio: float
) -> None:
    given_lists = {"r": [*sorted(rewards)], "l": [ratio] * len(rewards)}
    regrets = [value_of(kl_regret(pl.col("r"), pl.col("l"), beta), **given_lists) for beta in (1e6, 1.0, 1e-3)]
    most = value_of(a_avg(pl.col("r")), **given_lists)
    assert most is not None
    assert all(regret is not None and -1e-9 <= regret <= most + 1e-9 for regret in regrets)
    assert regrets[0] == pytest.approx(0, abs=1e-4)


def test_a_regret_needs_two_responses_and_finite_parts() -> None:
    regret = kl_regret(pl.col("r"), pl.col("l"), 1.0)
    assert value_of(regret, r=[1.0], l=[0.0]) is None
    assert value_of(regret, r=[1.0, 2.0, 3.0], l=[0.0, 0.0, float("inf")]) is None
    assert value_of(regret, r=[1.0, None], l=[0.0, 0.0]) is None


@pytest.mark.parametrize(
    ("answers", "entropy", "differ"),
    [
        (["4", "4", "4"], 0.0, 0.0),
        (["4", "5"], math.log(2), 1.0),
        # Shares of 1/2, 1/4 and 1/4; of the six pairs one is equal.
        (["4", "4", "5", "6"], 0.5 * math.log(2) + 0.5 * math.log(4), 5 / 6),
        (["4", None, "5"], math.log(2), 1.0),
        (["4", None], None, None),
        ([], None, None),
    ],
)
def test_answers_vote(answers: list[str | None], entropy: float | None, differ: float | None) -> None:
    table = pl.DataFrame({"a": [answers]}, schema={"a": pl.List(pl.String)})
    found = table.select(answer_entropy(pl.col("a")), b=disagreement(pl.col("a"))).row(0)
    assert found == (pytest.approx(entropy), pytest.approx(differ))


@pytest.mark.parametrize(
    ("rewards", "closeness"),
    [([0.0, 1.0], 1.0), ([0.0, 0.0, 0.0, 1.0], 0.5), ([1.0, 1.0], 0.0), ([0.5], None), ([0.0, 2.0], None)],
)
def test_a_pass_rate_of_a_half_teaches_most(rewards: list[float | None], closeness: float | None) -> None:
    assert value_of(pass_rate_closeness(pl.col("r")), r=rewards) == pytest.approx(closeness)


def test_closeness_to_a_half_can_stand_in_the_settings() -> None:
    own = own_metric("eva_data.method.signals.difficulty:pass_rate_closeness")
    assert own is not None
    assert value_of(own.value(pl.col("r")), r=[0.0, 0.0, 0.0, 1.0]) == 0.5


def test_difficulty_of_the_responses_of_an_iteration() -> None:
    rows = [("a", "the  same", 1.0), ("a", "the same", 0.0), ("b", "one", 1.0), ("b", "two", None), ("c", "x", 0.0)]
    columns = ["prompt_id", "response", "reward"]
    now = conform(pl.DataFrame(rows, schema=columns, orient="row"), RESPONSES).lazy()
    before = conform(pl.DataFrame([("a", "y", 0.25), ("c", "z", None)], schema=columns, orient="row"), RESPONSES)
    assert_frame_equal(
        difficulty(now, before.lazy()).collect(),
        pl.DataFrame(
            {
                "prompt_id": ["a", "b", "c"],
                "answer_entropy": [0.0, math.log(2), None],
                "disagreement": [0.0, 1.0, None],
                "pass_rate_closeness": [1.0, None, None],
                "learning_progress": [0.25, None, None],
            }
        ),
    )
    alone = difficulty(now, answer=pl.col("response").str.len_chars()).collect()
    assert alone["learning_progress"].null_count() == 3
    assert alone["disagreement"].to_list() == [1.0, 0.0, None], "what counts as an answer is the caller's choice"
