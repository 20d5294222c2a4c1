"""Rates of weighed verdicts by hand, against the Bradley-Terry model, and with style held equal."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.comparing.orders import FIRST, SECOND
from eva_data.evaluation.rates.weighing import OTHER, SOLVER, compared_scores, rate, styled
from eva_data.evaluation.rules.arena_hard import RULE, SCORES
from eva_data.evaluation.rules.own import RULE as OWN
from eva_data.statistics.bradley_terry import bradley_terry

LABELS = list(SCORES)


def verdicts(*prompts: tuple[str | None, str | None], texts: tuple[list[str], list[str]] | None = None) -> pl.DataFrame:
    """Rows of one judge: for each prompt, its label with the solver's answer shown first, and shown second."""
    rows = []
    for number, labels in enumerate(prompts):
        for order, label in zip((FIRST, SECOND), labels, strict=True):
            worth = None if label is None else SCORES[label]
            score = 1 - worth if worth is not None and order == SECOND else worth
            ours, theirs = ("a", "b") if texts is None else (texts[0][number], texts[1][number])
            rows.append((f"p{number:04}", 1, 0, "judge", order, label, score, None, ours, theirs))
    schema = {
        "prompt_id": pl.String,
        "turn": pl.Int32,
        "sample": pl.Int32,
        "judge": pl.String,
        "order": pl.String,
        "label": pl.String,
        "score": pl.Float64,
        "category": pl.String,
        "response": pl.String,
        "response_against": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_a_strong_verdict_counts_three_times_and_half_a_comparison_not_at_all() -> None:
    own = verdicts(
        ("A>>B", "B>A"),  # strong win, slight win: 4 verdicts, all won
        ("A=B", "A>>B"),  # a tie, a strong loss: .5 of 4
        ("B>A", "A=B"),  # a slight loss, a tie: .5 of 2
        ("A>>B", None),  # only one order
    )
    scores, agreement = compared_scores(own, RULE)
    assert agreement == 1.0
    assert_frame_equal(
        scores.sort("prompt_id").select("prompt_id", "score", "weight"),
        pl.DataFrame(
            {"prompt_id": ["p0000", "p0001", "p0002"], "score": [1.0, 0.125, 0.25], "weight": [4.0, 4.0, 2.0]}
        ),
    )
    # 4 + .5 + .5 of 10 verdicts, and 5 of 10 is .5; each prompt alike would be (1 + .125 + .25) / 3.
    assert rate(scores, RULE, (0, 1), 0).estimate == 0.5
    plain, _ = compared_scores(own, OWN)
    assert plain["weight"].to_list() == [1.0] * 3
    # 1, (.5 + 0) / 2 and (0 + .5) / 2.
    assert rate(plain, OWN, (0, 1), 0).estimate == pytest.approx((1 + 0.25 + 0.25) / 3)


@given(st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=3, max_size=12))
def test_against_one_side_bradley_and_terrys_rate_is_the_mean_of_the_verdicts(found: list[tuple[str, str]]) -> None:
    own = verdicts(*found)
    scores, _ = compared_scores(own, RULE)
    made = rate(scores, RULE, (0, 1), 0)
    assert made.low <= made.estimate <= made.high
    assert rate(scores.reverse(), RULE, (0, 1), 0) == made
    weight = own["label"].replace_strict(RULE.weights, default=1.0, return_dtype=pl.Float64).to_numpy()
    model = bradley_terry(
        [SOLVER] * own.height,
        [OTHER] * own.height,
        own["score"].to_numpy(),
        own["prompt_id"].to_list(),
        OTHER,
        weights=weight,
        draws=2,
    )
    # The model's tiny penalty keeps a side finite that never lost.
    assert model.win_rate[SOLVER].estimate == pytest.approx(made.estimate, abs=0.01)


def test_a_side_that_wins_by_its_lists_alone_does_not_at_equal_style() -> None:
    # Lists decide nine of ten prompts, and the solver has the list in three of four.
    draw = np.random.Generator(np.random.PCG64(5))
    listed = draw.random(400) < 0.75
    won = np.where(draw.random(400) < 0.9, listed, ~listed)
    plain, with_list = "Some plain words of this length.", "- Some words\n- of this same len"
    texts = ([with_list if has else plain for has in listed], [plain if has else with_list for has in listed])
    own = verdicts(*(("A>B", "B>A") if win else ("B>A", "A>B") for win in won), texts=texts)
    scores, _ = compared_scores(own, RULE)
    assert rate(scores, RULE, (0, 1), 0).low > 0.6
    made = styled(own, RULE, 0)
    assert made is not None and made.rate.holds(0.5) and made.influence["lists"] > 1
    assert set(made.influence) == {"length", "headers", "bold", "lists"}


def test_style_is_not_held_equal_where_it_cannot_be() -> None:
    one = ("A>B", "B>A")
    assert styled(verdicts(*[one] * 9, texts=(["- a"] * 9, ["b"] * 9)), RULE, 0) is None
    assert styled(verdicts(*[one] * 12), RULE, 0) is None
    assert styled(verdicts(*[one] * 12, texts=(["- a"] * 12, ["b"] * 12)), OWN, 0) is None
