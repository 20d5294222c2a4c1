"""The difficulty band: pass rates, quantiles, what is drawn, and what is still inside by fresh samples."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.config.reading import load_config
from eva_data.errors import ConfigError, DataError
from eva_data.iteration.stages import estimate_and_sample
from eva_data.method.signals.band import Band, StillInside, band_of, posterior_mean, refuse_graded, still_inside
from eva_data.tables.schemas import INFORMATIVENESS, PROMPTS, RESPONSES, conform

FIRST_BEST = pl.Series([1.0])
RIGHT = {name: [1.0] * right + [0.0] * (6 - right) for right, name in enumerate("abcdefg")}
"""a has no right response of six, g has six."""


def answers(rewards: dict[str, list[float]], stage: str = "estimate", *, reused: bool = False) -> pl.DataFrame:
    rows = [
        (name, number, reward, "stop", stage, reused)
        for name, given in rewards.items()
        for number, reward in enumerate(given)
    ]
    columns = ["prompt_id", "response_idx", "reward", "finish_reason", "stage", "reused"]
    return conform(pl.DataFrame(rows, schema=columns, orient="row"), RESPONSES)


def sampled(rewards: dict[str, list[float]], *settings: str) -> tuple[pl.DataFrame, tuple[str, ...]]:
    config = load_config(None, ("sample.fraction=1", "sample.method=uniform", "estimate.min_best=null", *settings))
    before = conform(pl.DataFrame({"prompt_id": [*rewards], "depth": [0] * len(rewards)}), PROMPTS)
    responses = max(map(len, rewards.values()))
    found = estimate_and_sample(config, 2, before, answers(rewards), responses, FIRST_BEST)
    return found.informativeness.select("prompt_id", "reason", "selected").collect(), found.notes


def test_the_posterior_mean_is_laplaces_rule_of_succession() -> None:
    table = pl.DataFrame({"share": [0.0, 1 / 3, 1.0], "n": [6, 6, 6]})
    found = table.select(posterior_mean(pl.col("share"), pl.col("n"))).to_series().to_list()
    assert found == [1 / 8, 3 / 8, 7 / 8]


def test_prompts_outside_the_band_are_not_drawn_and_say_why() -> None:
    table, notes = sampled(RIGHT, "sample.band=[0.3,0.8]")
    # (k + 1) / 8: .125, .25, .375, .5, .625, .75, .875
    expected = ["too_hard", "too_hard", None, None, None, None, "too_easy"]
    assert_frame_equal(
        table,
        pl.DataFrame(
            {"prompt_id": [*"abcdefg"], "reason": expected, "selected": [False, False, True, True, True, True, False]}
        ),
    )
    assert "1 of 7 prompts are too easy and 2 too hard for `sample.band` and cannot be drawn" in notes
    assert any("takes pass rates of 6 responses, which come in steps of 1/6" in note for note in notes)


def test_bounds_are_inside_and_eight_responses_are_enough() -> None:
    rewards = {name: [1.0] * right + [0.0] * (8 - right) for name, right in (("low", 2), ("high", 7), ("no", 8))}
    table, notes = sampled(rewards, "sample.band=[0.3,0.8]")
    assert table.sort("prompt_id")["reason"].to_list() == [None, None, "too_easy"]
    assert not any("steps of" in note for note in notes)


def test_an_unsolved_prompt_stays_unsolved() -> None:
    table, _ = sampled(RIGHT, "sample.band=[0.3,0.8]", "estimate.min_best=1")
    assert table["reason"].to_list() == ["unsolved", "unsolved", None, None, None, None, "too_easy"]


def test_graded_rewards_get_a_band_that_says_it_is_relative() -> None:
    rewards = {name: [float(place), place + 0.5] for place, name in enumerate("abcdefghijk")}
    table, notes = sampled(rewards, "sample.band=[0.2,0.7]")
    # Eleven means .25 ... 10.25: quantiles at places 2 and 7.
    assert table["reason"].to_list() == ["too_hard"] * 2 + [None] * 6 + ["too_easy"] * 3
    assert any("the band is relative to these prompts" in note and "2.25 to 7.25" in note for note in notes)


def test_where_nothing_is_inside_the_error_says_so() -> None:
    with pytest.raises(DataError, match=r"1 of 2 prompts are too easy and 1 too hard for `sample\.band`"):
        sampled({"a": RIGHT["a"], "g": RIGHT["g"]}, "sample.band=[0.3,0.8]")


@pytest.mark.parametrize("bounds", ["[0.8,0.3]", "[0.3,0.3]", "[-0.1,0.5]", "[0.3,1.5]"])
def test_a_band_is_two_rising_numbers(bounds: str) -> None:
    with pytest.raises(ConfigError, match=r"expected two rising numbers from 0 to 1, such as \[0\.3, 0\.8\]"):
        load_config(None, (f"sample.band={bounds}",))


@pytest.mark.parametrize("settings", [("mix.evolved=0",), ("mix.source=new_seeds",)])
def test_a_band_is_refused_where_nothing_is_drawn(settings: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"`sample\.band` is set, but nothing is drawn with `mix\.source`"):
        load_config(None, ("sample.band=[0.3,0.8]", *settings))


def test_online_a_graded_reward_has_no_band() -> None:
    refuse_graded(None, graded=True)
    refuse_graded((0.3, 0.8), graded=False)
    with pytest.raises(ConfigError, match="online the band holds pass rates, since a batch is too small for quantiles"):
        refuse_graded((0.3, 0.8), graded=True)


def informative(stage: str, means: dict[str, float], drawn: str = "") -> pl.DataFrame:
    table = pl.DataFrame(
        {"prompt_id": [*means], "reward_mean": [*means.values()], "n_scored": 6, "stage": stage},
    ).with_columns(selected=pl.col("prompt_id").is_in([*drawn]))
    return conform(table, INFORMATIVENESS)


def test_fresh_samples_say_how_many_drawn_prompts_are_still_inside() -> None:
    half, never = [1.0, 0.0] * 3, [0.0] * 6
    before = informative("estimate", {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.0}, drawn="abc")
    after = informative("respond", {"a": 0.5, "b": 0.0, "c": 0.0, "d": 0.0})
    # c was not asked again, d was not drawn.
    asked = [answers({"a": half, "b": never, "d": never}, "respond"), answers({"c": never}, "respond", reused=True)]
    both, responses = pl.concat([before, after]).lazy(), pl.concat(asked).lazy()
    found = still_inside((0.3, 0.8), both, responses, graded=False)
    assert found == StillInside(inside=1, answered_again=2)
    assert found.sentence == "1 of 2 drawn prompts (50%) are inside `sample.band` by fresh samples too"
    assert still_inside(None, both, responses, graded=False) is None
    assert still_inside((0.3, 0.8), both, answers({"c": never}, "respond", reused=True).lazy(), graded=False) is None


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=20),
    st.floats(0, 0.49),
    st.floats(0.5, 1),
    st.booleans(),
)
def test_a_prompt_with_more_right_responses_is_never_harder(
    right: list[int], low: float, high: float, relative: bool
) -> None:
    table = pl.DataFrame({"reward_mean": [k / 8 for k in sorted(right)], "n_scored": [8] * len(right)})
    band = band_of((low, high), table.lazy(), graded=relative)
    assert band is not None
    order = {"too_hard": 0, None: 1, "too_easy": 2}
    places = [order[reason] for reason in table.select(band.reason()).to_series()]
    assert places == sorted(places)


def test_a_prompt_with_one_reward_has_no_pass_rate() -> None:
    table = pl.DataFrame({"reward_mean": [1.0, None], "n_scored": [1, 0]})
    assert table.select(Band(0.3, 0.5, relative=False).reason()).to_series().to_list() == [None, None]
