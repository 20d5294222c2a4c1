"""Rewards adjusted for length: the fit, what it takes off, and how often the longer response is chosen."""

from __future__ import annotations

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_data.method.signals.lengths import FOLDS, LengthFit, PairLengths, length_adjusted, length_fit, pair_lengths
from eva_data.tables.schemas import PREFERENCES, RESPONSES, conform

Answer = tuple[int | None, float | None, str]
"""Tokens, reward and finish reason of a response."""


def _responses(prompts: dict[str, list[Answer]]) -> pl.DataFrame:
    rows = [
        (prompt, number, "x" * (tokens or 3), reward, tokens, finish, "respond")
        for prompt, answers in prompts.items()
        for number, (tokens, reward, finish) in enumerate(answers)
    ]
    columns = ["prompt_id", "response_idx", "response", "reward", "completion_tokens", "finish_reason", "stage"]
    return conform(pl.DataFrame(rows, columns, orient="row"), RESPONSES)


def _adjusted(responses: pl.DataFrame, fit: LengthFit | None, seed: int = 7) -> list[float | None]:
    return length_adjusted(responses.lazy(), fit, seed=seed).collect()["reward"].to_list()


def test_the_coefficient_is_the_median_slope_of_the_other_prompts_and_cut_or_equal_responses_do_not_count() -> None:
    # 2 per factor e in every prompt; a cut response would say -90, an equal one 0.
    e = math.log(20) - math.log(10)
    same: dict[str, list[Answer]] = {
        f"p{n}": [(10, float(n), "stop"), (20, n + 2 * e, "stop"), (400, -90.0, "length"), (40, n + 2 * e, "stop")]
        for n in range(12)
    }
    fit = length_fit(_responses(same), seed=7)
    # Slopes of a prompt: 2 from 10 to 20, and half of it from 10 to 40; of many, the median is their mean.
    assert (fit.unit, fit.prompts, fit.slopes) == ("tokens", 12, 24)
    assert fit.coefficients == pytest.approx([1.5] * FOLDS)


def test_a_reward_that_is_length_alone_says_nothing_once_it_is_adjusted() -> None:
    lengths: dict[str, list[Answer]] = {
        f"p{n}": [(tokens, n + 3 * math.log(tokens), "stop") for tokens in (4, 16, 64)] for n in range(12)
    }
    responses = _responses(lengths)
    fit = length_fit(responses, seed=7)
    # ln 4, ln 16 and ln 64 have the mean ln 16.
    assert _adjusted(responses, fit) == pytest.approx([n + 3 * math.log(16) for n in range(12) for _ in range(3)])
    assert _adjusted(responses, None) == responses["reward"].to_list()


def test_a_prompt_does_not_adjust_itself_and_what_has_no_others_stays() -> None:
    responses = _responses({"alone": [(4, 1.0, "stop"), (64, 5.0, "stop")]})
    fit = length_fit(responses, seed=7)
    known = [each for each in fit.coefficients if each is not None]
    assert known == pytest.approx([4.0 / math.log(16)] * (FOLDS - 1))
    assert _adjusted(responses, fit) == [1.0, 5.0]
    none = length_fit(_responses({"one": [(4, 1.0, "stop")]}), seed=7)
    assert none == LengthFit("tokens", (None,) * FOLDS, prompts=0, slopes=0)
    assert _adjusted(responses, none) == [1.0, 5.0]


def test_equal_rewards_stay_equal_and_what_has_no_reward_gets_none() -> None:
    responses = _responses(
        {
            "equal": [(4, 2.0, "stop"), (64, 2.0, "stop")],
            "failed": [(4, 1.0, "stop"), (16, None, "stop"), (64, 5.0, "stop")],
        }
    )
    # ln 4 and ln 64 are ln 4 apart from their mean.
    fit = LengthFit("tokens", (1.0,) * FOLDS, prompts=1, slopes=1)
    assert _adjusted(responses, fit) == pytest.approx([2.0, 2.0, 1 + math.log(4), None, 5 - math.log(4)])


def test_characters_count_if_the_tokens_of_a_response_are_unknown() -> None:
    assert length_fit(_responses({"p": [(None, 1.0, "stop"), (64, 5.0, "stop")]}), seed=7).unit == "characters"


def test_pairs_are_counted_by_characters_and_given_rewards() -> None:
    responses = _responses({"p": [(4, 1.0, "stop"), (9, 5.0, "stop"), (4, 0.5, "stop")]})
    sides = pl.DataFrame({"prompt_id": ["p"] * 3, "chosen_idx": [1, 0, 2], "rejected_idx": [0, 1, 0]})
    assert pair_lengths(conform(sides, PREFERENCES), responses) == PairLengths(3, 1, 1, (4 - 4 - 0.5) / 3)
    assert pair_lengths(conform(sides.clear(), PREFERENCES), responses) == PairLengths(0, 0, 0, None)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 50), st.integers(-3, 3), st.just("stop")), min_size=1, max_size=5),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 5),
)
@settings(max_examples=20, deadline=None)
def test_every_prompt_keeps_its_mean_and_the_order_of_rows_does_not_matter(
    prompts: list[list[Answer]], seed: int
) -> None:
    responses = _responses({f"p{number}": answers for number, answers in enumerate(prompts)})
    shuffled = responses.sample(fraction=1.0, shuffle=True, seed=seed)
    fit = length_fit(responses, seed=seed)
    assert length_fit(shuffled, seed=seed) == fit
    after = length_adjusted(responses.lazy(), fit, seed=seed).collect()
    again = length_adjusted(shuffled.lazy(), fit, seed=seed).collect().sort("prompt_id", "response_idx")
    assert again.equals(after.sort("prompt_id", "response_idx"))
    means = [table.group_by("prompt_id").agg(pl.col("reward").mean()).sort("prompt_id") for table in (responses, after)]
    assert means[1]["reward"].to_list() == pytest.approx(means[0]["reward"].to_list(), abs=1e-9)
