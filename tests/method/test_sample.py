"""The draw of informative prompts."""

from __future__ import annotations

import math
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.errors import ConfigError, DataError
from eva_data.method.sample import Sampled, next_in_line, sample
from eva_data.tables.draws import share_of, smallest
from eva_data.tables.ids import uniform_draw
from eva_data.tables.schemas import INFORMATIVENESS, check, conform

METHODS = ["weighted", "greedy", "uniform", "stratified"]


def _estimated(a_min: dict[str, float | None], **columns: list[object]) -> pl.LazyFrame:
    table = pl.DataFrame({"prompt_id": list(a_min), "a_min": list(a_min.values()), **columns}, strict=False)
    stage = {} if "stage" in columns else {"stage": pl.lit("estimate")}
    return conform(table.with_columns(**stage), INFORMATIVENESS).lazy()


def _sample(table: pl.LazyFrame, **settings: object) -> Sampled:
    given_settings = {"metric": "a_min", "fraction": 0.25, "seed": 1, "iteration": 2} | settings
    return sample(table, **given_settings)  # type: ignore[arg-type]


def _selected(sampled: Sampled) -> list[str]:
    return sampled.informativeness.filter(pl.col("selected")).collect()["prompt_id"].to_list()


def _many(values: list[float | None]) -> dict[str, float | None]:
    return {f"{number:03x}": value for number, value in enumerate(values)}


METRIC_VALUES = st.lists(
    st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.5]), st.floats(1e-3, 1e3)), min_size=1, max_size=30
).filter(lambda values: any(value for value in values))


def test_the_key_of_a_weighted_draw_is_log_u_over_the_weight() -> None:
    table = _estimated({"a": 2.0, "b": 0.0, "c": None, "d": 0.5})
    sampled = _sample(table, fraction=0.5)
    u = uniform_draw(pl.col("prompt_id"), seed=1, stage="sample", iteration=2)
    log_u = dict(table.select("prompt_id", u.log()).collect().iter_rows())
    draws = {"a": log_u["a"] / 2.0, "d": log_u["d"] / 0.5}
    assert_frame_equal(
        sampled.informativeness.select("prompt_id", "weight", "draw", "selected").collect(),
        pl.DataFrame(
            {
                "prompt_id": ["a", "b", "c", "d"],
                "weight": [2.0, 0.0, None, 0.5],
                "draw": [draws["a"], None, None, draws["d"]],
                "selected": [True, False, False, True],
            }
        ),
    )
    check(sampled.informativeness, INFORMATIVENESS, "informativeness")
    assert (sampled.prompts, sampled.wanted, sampled.drawable, sampled.selected) == (4, 2, 2, 2)
    assert sampled.notes == ("1 of 4 prompts have no finite `a_min` and cannot be drawn",)


def test_minmax_never_draws_the_least_informative() -> None:
    sampled = _sample(_estimated({"a": -1.0, "b": 0.0, "c": 3.0}), weights="minmax", fraction=1)
    assert sampled.informativeness.collect()["weight"].to_list() == [0.0, 0.25, 1.0]
    assert _selected(sampled) == ["b", "c"]
    assert sampled.notes == ("3 prompts were wanted but only 2 can be drawn: all of them are selected",)


def test_inverted_weights_never_draw_the_most_informative() -> None:
    sampled = _sample(_estimated({"a": -1.0, "b": 0.0, "c": 3.0}), weights="inverted", fraction=1)
    assert sampled.informativeness.collect()["weight"].to_list() == [1.0, 0.75, 0.0]
    assert _selected(sampled) == ["a", "b"]


def test_a_power_is_an_exponent_on_the_weights_as_shares_of_the_largest() -> None:
    table = _estimated({"a": 2.0, "b": 0.0, "c": None, "d": 1.0})
    sampled = _sample(table, fraction=1, power=3)
    u = uniform_draw(pl.col("prompt_id"), seed=1, stage="sample", iteration=2)
    gumbel = dict(table.select("prompt_id", -(-u.log()).log()).collect().iter_rows())
    found = sampled.informativeness.collect()
    assert found["weight"].to_list() == [1.0, 0.0, None, 0.125]
    draws = [gumbel["a"], None, None, 3 * math.log(0.5) + gumbel["d"]]
    assert found["draw"].to_list() == pytest.approx(draws, nan_ok=False)
    assert _selected(_sample(table, fraction=1, power=0)) == ["a", "b", "d"], "all with a metric are alike"


@settings(max_examples=40)
@given(METRIC_VALUES, st.sampled_from(["proportional", "minmax", "inverted"]), st.integers(1, 3))
def test_a_power_draws_in_the_order_of_the_raised_weights(values: list[float | None], weights: str, power: int) -> None:
    rows = _many(values)
    plain = _sample(_estimated(rows), weights=weights, fraction=1).informativeness.collect()
    raised = plain.with_columns(a_min=pl.col("weight").pow(power)).filter(pl.col("weight").is_not_null())
    by_hand = _sample(raised.lazy(), fraction=1).informativeness.collect()
    powered = _sample(_estimated(rows), weights=weights, power=power, fraction=1).informativeness.collect()
    in_order = [
        table.filter(pl.col("draw").is_not_null()).sort(-pl.col("draw"), "prompt_id")["prompt_id"].to_list()
        for table in (by_hand, powered)
    ]
    assert in_order[0] == in_order[1]


def test_a_large_power_is_greedy_and_underflows_nowhere() -> None:
    table = _estimated(_many([float(1 + n) for n in range(40)]))
    greedy, steep = (_sample(table, **settings) for settings in ({"method": "greedy"}, {"power": 1e6}))
    assert _selected(greedy) == _selected(steep)
    assert steep.drawable == 40


def test_negative_values_and_proportional_weights_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match=r"`estimate.metric: a_min` goes down to -1.*`sample.weights: minmax`"):
        _sample(_estimated({"a": -1.0, "b": 2.0}))


@pytest.mark.parametrize("weights", ["proportional", "minmax", "inverted"])
def test_a_constant_metric_is_drawn_uniformly_and_said_so(weights: str) -> None:
    sampled = _sample(_estimated(_many([0.0] * 8)), weights=weights)
    assert sampled.informativeness.collect()["weight"].to_list() == [1.0] * 8
    assert len(_selected(sampled)) == 2
    assert sampled.notes == ("all prompts have the same `a_min`, 0, so the draw is uniform",)


def test_an_infinite_metric_is_no_weight() -> None:
    sampled = _sample(_estimated({"a": float("inf"), "b": 1.0, "c": 2.0}), fraction=1)
    assert _selected(sampled) == ["b", "c"]


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(DataError, match="none of 2 prompts has a finite `a_min`"):
        _sample(_estimated({"a": None, "b": None}))


def test_greedy_takes_the_largest() -> None:
    sampled = _sample(_estimated({"a": 1.0, "b": 5.0, "c": None, "d": -3.0}), method="greedy", fraction=0.5)
    assert_frame_equal(
        sampled.informativeness.select("prompt_id", "weight", "draw", "selected").collect(),
        pl.DataFrame(
            {
                "prompt_id": ["a", "b", "c", "d"],
                "weight": [None, None, None, None],
                "draw": [-2.0, -1.0, None, -3.0],
                "selected": [True, True, False, False],
            },
            schema_overrides={"weight": pl.Float64},
        ),
    )


def test_greedy_breaks_ties_at_random() -> None:
    table = _estimated(_many([1.0] * 20))
    draws = {tuple(_selected(_sample(table, method="greedy", seed=seed))) for seed in range(5)}
    assert len(draws) == 5


def test_uniform_draws_prompts_without_a_metric_too() -> None:
    sampled = _sample(_estimated(_many([None, 0.0, 9.0, None])), method="uniform", fraction=1)
    assert sampled.informativeness.collect()["weight"].to_list() == [1.0] * 4
    assert len(_selected(sampled)) == 4


def test_strata_of_a_metric_are_equally_large_and_equally_drawn_from() -> None:
    sampled = _sample(_estimated(_many([float(n) for n in range(40)])), method="stratified", strata=4, fraction=0.3)
    quarters = Counter(int(prompt_id, 16) // 10 for prompt_id in _selected(sampled))
    assert quarters == {0: 3, 1: 3, 2: 3, 3: 3}


@pytest.mark.slow
@pytest.mark.parametrize("count", [12, 14])
def test_what_strata_do_not_divide_evenly_is_no_ones_by_right(count: int) -> None:
    table, draws = _estimated(_many([float(n) for n in range(count)])), 1500
    found = Counter(
        prompt_id
        for seed in range(draws)
        for prompt_id in _selected(_sample(table, method="stratified", fraction=0.25, seed=seed))
    )
    included = share_of(0.25, count) / count
    # Four standard deviations of a frequency over 1500 draws are at most 0.047.
    assert [found[name] / draws for name in _many([1.0] * count)] == pytest.approx([included] * count, abs=0.047)


def test_by_older_rules_the_smaller_id_has_what_strata_do_not_divide_evenly() -> None:
    table = _estimated(_many([float(n) for n in range(8)]))
    sampled = _sample(table, method="stratified", strata=4, rules=2, fraction=0.25)
    firsts = sampled.informativeness.filter(pl.col("draw") == -0.25).collect()["prompt_id"].to_list()
    assert len(firsts) == 4, "the first of every stratum, with the draw (1 - 1/2) / 2"
    assert _selected(sampled) == sorted(firsts)[:2]


@pytest.mark.parametrize("method", METHODS)
def test_rows_of_the_respond_stage_pass_through(method: str) -> None:
    table = _estimated({"a": 1.0, "b": 2.0}, stage=["estimate", "estimate"])
    answered = _estimated({"a": 7.0}, stage=["respond"])
    sampled = _sample(pl.concat([answered, table]), method=method, fraction=1).informativeness.collect()
    assert_frame_equal(sampled.filter(pl.col("stage") == "respond"), answered.collect())
    assert_frame_equal(
        sampled.filter(pl.col("stage") == "estimate"),
        _sample(table, method=method, fraction=1).informativeness.collect(),
    )


@pytest.mark.slow
def test_inclusion_probabilities_are_those_of_efraimidis_and_spirakis() -> None:
    # Of the weights 1, 2, 3 two are drawn in sequence: for the first prompt 1/6 + 2/6 * 1/4 + 3/6 * 1/3 = 5/12.
    expected = {"a": 5 / 12, "b": 11 / 15, "c": 17 / 20}
    table = _estimated({"a": 1.0, "b": 2.0, "c": 3.0})
    draws = 1000
    found = Counter(
        prompt_id for seed in range(draws) for prompt_id in _selected(_sample(table, fraction=0.66, seed=seed))
    )
    for prompt_id, probability in expected.items():
        # Four standard deviations of a frequency over 1000 draws are at most 0.063.
        assert found[prompt_id] / draws == pytest.approx(probability, abs=0.063)


@pytest.mark.slow
def test_one_of_two_is_drawn_in_proportion_to_its_weight() -> None:
    table = _estimated({"a": 1.0, "b": 4.0})
    found = Counter(prompt_id for seed in range(800) for prompt_id in _selected(_sample(table, seed=seed)))
    assert found.total() == 800
    assert found["a"] / 800 == pytest.approx(0.2, abs=0.057)  # four standard deviations


@given(METRIC_VALUES, st.floats(0.01, 1), st.sampled_from(METHODS), st.sampled_from(["proportional", "minmax"]))
def test_exactly_the_wanted_number_or_all_that_can_be_drawn(
    values: list[float | None], fraction: float, method: str, weights: str
) -> None:
    sampled = _sample(_estimated(_many(values)), fraction=fraction, method=method, weights=weights)
    table = sampled.informativeness.collect()
    assert table["prompt_id"].to_list() == sorted(_many(values))
    assert sampled.wanted == max(1, share_of(fraction, len(values)))
    assert sampled.drawable == table["draw"].count()
    assert table["selected"].sum() == sampled.selected == min(sampled.wanted, sampled.drawable)
    drawn = table.filter(pl.col("draw").is_not_null())
    in_order = drawn.sort(-pl.col("draw"), "prompt_id")["prompt_id"].to_list()
    assert sorted(in_order[: sampled.selected]) == table.filter("selected")["prompt_id"].to_list()


@pytest.mark.slow
@given(METRIC_VALUES, st.sampled_from(METHODS), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(values: list[float | None], method: str, random) -> None:  # type: ignore[no-untyped-def]
    rows = list(_many(values).items())
    shuffled = dict(random.sample(rows, len(rows)))
    assert_frame_equal(
        _sample(_estimated(shuffled), method=method).informativeness.collect(),
        _sample(_estimated(dict(rows)), method=method).informativeness.collect(),
        check_exact=True,
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_seed_and_the_iteration_decide(method: str) -> None:
    table = _estimated(_many([1.0, 1.0, 2.0, 2.0] * 25))
    assert _selected(_sample(table, method=method)) == _selected(_sample(table, method=method))
    assert _selected(_sample(table, method=method)) != _selected(_sample(table, method=method, seed=2))
    assert _selected(_sample(table, method=method)) != _selected(_sample(table, method=method, iteration=3))


@pytest.mark.slow
@given(METRIC_VALUES, st.sampled_from(METHODS), st.integers(0, 10))
def test_next_in_line_walks_on_where_the_selection_ended(values: list[float | None], method: str, count: int) -> None:
    sampled = _sample(_estimated(_many(values)), method=method)
    following = next_in_line(sampled.informativeness, after=sampled.selected, count=count)
    table = sampled.informativeness.filter(pl.col("draw").is_not_null()).collect()
    rest = table.filter(~pl.col("selected")).sort(-pl.col("draw"), "prompt_id")
    assert_frame_equal(following, rest.select("prompt_id", "draw").head(count))
    first = next_in_line(sampled.informativeness, after=0, count=sampled.selected)
    assert sorted(first["prompt_id"]) == _selected(sampled)


@given(st.lists(st.one_of(st.none(), st.sampled_from([0.0, 1.0, 2.0])), max_size=20), st.integers(0, 25))
def test_the_smallest_are_exactly_those_of_a_sort(keys: list[float | None], count: int) -> None:
    table = pl.DataFrame(
        {"prompt_id": [f"{(7 * n) % 20:02}" for n in range(len(keys))], "key": keys},
        schema_overrides={"key": pl.Float64},
    )
    condition = smallest(table.lazy(), pl.col("key"), count)
    assert_frame_equal(
        table.filter(condition).sort("prompt_id"),
        table.drop_nulls().sort("key", "prompt_id").head(count).sort("prompt_id"),
    )


@pytest.mark.parametrize(
    ("share", "total", "expected"), [(0.25, 10, 3), (0.25, 2, 1), (0.145, 100, 15), (0.8, 60_000, 48_000), (0.1, 4, 0)]
)
def test_shares_are_rounded_half_up_as_they_are_written(share: float, total: int, expected: int) -> None:
    assert share_of(share, total) == expected
