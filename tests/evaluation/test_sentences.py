"""What is said of judges that cannot tell and of sides that do not compare, from their verdicts alone."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
import pytest

from eva_data.comparing.verdict import Judged
from eva_data.dataset.evaluations import Compared
from eva_data.evaluation.figures import Figures, figures_of
from eva_data.evaluation.judging import in_orders, with_verdicts
from eva_data.evaluation.rule import rule_called
from eva_data.evaluation.sentences import sentence_of


def made(rule: str, verdicts: Sequence[Judged], **fields: object) -> Figures:
    """The figures of one verdict each on prompts, in the orders in which the rule asks."""
    found = rule_called(rule)
    n = len(verdicts) if found.orders == "drawn" else len(verdicts) // 2
    faced = pl.DataFrame(
        {
            "evaluation": ["k"] * n,
            "prompt_id": [f"p{number:02}" for number in range(n)],
            "prompt": [[{"role": "user", "content": f"What is {number}?"}] for number in range(n)],
            "turn": [1] * n,
            "sample": [0] * n,
            "judge": ["judge"] * n,
            "category": pl.Series([None] * n, dtype=pl.String),
            "response": ["ours"] * n,
            "response_against": ["theirs"] * n,
            **{name: pl.Series([None] * n, dtype=pl.String) for name in ("finish_reason", "finish_reason_against")},
            **{name: pl.Series([10] * n) for name in ("completion_tokens", "completion_tokens_against")},
        }
    )
    values = {
        "key": "k",
        "set": "squares",
        "rule": rule,
        "source": "",
        "solver": "s",
        "solver_name": "theta_1",
        "against": "b",
        "against_name": "theta_0",
        "judges": ("judge",),
        "prompts": n,
        "prompts_hash": "",
    }
    return figures_of(Compared.model_validate(values | fields), with_verdicts(found, in_orders(found, faced), verdicts))


def said(label: str, log_first: float | None = None, log_second: float | None = None) -> Judged:
    return Judged(label=label, reason=None, raw=None, log_first=log_first, log_second=log_second)


@pytest.mark.parametrize(("letter", "place"), [("m", "first"), ("M", "second")])
def test_a_judge_that_always_says_the_same_letter_is_found_out_also_in_one_order(letter: str, place: str) -> None:
    found = made("alpaca_eval", [said(letter)] * 40)
    assert f"judge always preferred the reply shown {place}: its verdicts say nothing" in found.warnings
    # The drawn order alone gives a rate that chance may take for a difference, as here.
    assert found.estimate is not None and not found.estimate.holds(0.5)
    assert sentence_of(found) == (
        "This judge cannot tell theta_1 from theta_0 on squares (40 of 40 prompts): it always preferred the reply "
        f"shown {place}."
    )


def test_probabilities_are_the_score_and_how_many_there_are_is_said() -> None:
    # Probabilities .75 and .25 of the reply shown first; then a letter alone.
    likely = [said("m", -0.2877, -1.3863)] * 10 + [said("M", -1.3863, -0.2877)] * 10
    found = made("alpaca_eval", [*likely, *[said("m")] * 20])
    assert found.probabilities == 0.5
    assert found.scores["score"].round(3).unique().sort().to_list() == [0.0, 0.25, 0.75, 1.0]
    assert (
        "the judge gave log-probabilities for 50 % of its verdicts; the others count as 0, 0.5 or 1" in found.warnings
    )
    assert not any("always preferred" in warning for warning in found.warnings)


def test_sides_that_sample_otherwise_are_not_called_better_or_worse() -> None:
    won = [said("A>B")] * 20 + [said("B>A")] * 20
    assert sentence_of(made("arena_hard", won)).startswith(
        "theta_1 is better than theta_0 on squares (20 of 20 prompts)"
    )
    apart = made("arena_hard", won, decoding="temperature 0", decoding_against="temperature 1")
    assert sentence_of(apart) == (
        "theta_1 and theta_0 are not compared on squares (20 of 20 prompts), since the sides sample otherwise "
        "(temperature 0; temperature 1), so what differs may be that: win rate 100.0 % [83.9, 100.0]."
    )
    assert apart.not_comparable[0].startswith("the sides sample otherwise")
