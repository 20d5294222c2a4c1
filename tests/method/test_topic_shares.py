"""Topics of prompts, the draw of the same share of each, and the cap of a topic's share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.errors import DataError
from eva_data.method.mix import Mixed, Yield, mix, within_cap
from eva_data.method.sample import Sampled, sample
from eva_data.method.topics.assign import fit_topics
from eva_data.tables.schemas import EVOLUTIONS, INFORMATIVENESS, MESSAGES, PROMPTS, TOPICS, conform

KINDS = {
    "cook": "How do I cook {} with onions and garlic in a pan?",
    "sail": "Which wind does a sailing boat need to cross the {} sea?",
    "sum": "Compute the integral of {} and simplify the fraction.",
}


def prompts(*texts: tuple[str, str]) -> pl.DataFrame:
    rows = [(name, [{"role": "user", "content": text}]) for name, text in texts]
    return pl.DataFrame(rows, schema={"prompt_id": pl.String, "prompt": MESSAGES}, orient="row")


def of_three_kinds() -> pl.DataFrame:
    words = ["rice", "blue", "eggs", "cold", "fish", "warm", "peas", "wide", "beef", "grey"]
    counts = {"cook": 10, "sail": 12, "sum": 14}
    return prompts(
        *(
            (f"{kind}{place:02}", KINDS[kind].format(words[place % 10]))
            for kind in KINDS
            for place in range(counts[kind])
        )
    )


def topics(**topic_of: int | None) -> pl.LazyFrame:
    return pl.LazyFrame(
        {"prompt_id": list(topic_of), "topic": list(topic_of.values())}, schema_overrides={"topic": pl.Int32}
    )


# --- which topic -------------------------------------------------------------------------------------------------


def test_a_prompt_has_the_topic_of_the_words_that_it_shares_with_prompts_of_iteration_1() -> None:
    first = of_three_kinds()
    model = fit_topics(first)
    found = model.of(first, 2)
    assert found.schema == TOPICS and found["iteration"].unique().to_list() == [2]
    # The most frequent kind is the first topic.
    kinds = (
        found.with_columns(kind=pl.col("prompt_id").str.extract("([a-z]+)"))
        .group_by("kind")
        .agg(pl.col("topic").unique())
    )
    assert dict(kinds.iter_rows()) == {"sum": [1], "sail": [2], "cook": [3]}
    assert "integral" in found.filter(pl.col("topic") == 1)["words"][0]
    new = prompts(("a", "Compute the fraction again."), ("b", "Onions in a pan?"), ("c", "Здравствуй"), ("d", "12 + 3"))
    assert dict(model.of(new, 3).select("prompt_id", "topic").iter_rows()) == {"a": 1, "b": 3, "c": None, "d": None}


def test_topics_do_not_depend_on_the_order_of_rows() -> None:
    first = of_three_kinds()
    turned = fit_topics(first.reverse()).of(first.reverse(), 2)
    assert_frame_equal(fit_topics(first).of(first, 2), turned)


def test_few_prompts_are_one_topic_and_prompts_without_words_have_none() -> None:
    one = fit_topics(of_three_kinds().head(5))
    assert one.of(of_three_kinds(), 2)["topic"].unique().sort().to_list() == [None, 1]
    nothing = fit_topics(prompts(("a", "1 + 2"), ("b", "3")))
    assert nothing.words == () and nothing.of(of_three_kinds(), 2)["topic"].null_count() == 36
    assert fit_topics(of_three_kinds()).of(prompts(), 2).is_empty()


# --- the same share of each --------------------------------------------------------------------------------------


def drawn(values: Mapping[str, float | None], of: pl.LazyFrame | None, **settings: object) -> Sampled:
    table = pl.DataFrame({"prompt_id": list(values), "a_min": list(values.values()), "stage": "estimate"}, strict=False)
    given_settings = {"metric": "a_min", "fraction": 0.5, "method": "greedy", "seed": 1, "iteration": 2} | settings
    return sample(conform(table, INFORMATIVENESS).lazy(), topics=of, **given_settings)  # type: ignore[arg-type]


def selected(sampled: Sampled) -> list[str]:
    return sampled.informativeness.filter(pl.col("selected")).collect()["prompt_id"].to_list()


FOUR_AND_TWO = {"a1": 9.0, "a2": 8.0, "a3": 7.0, "a4": 6.0, "b1": 2.0, "b2": 1.0}
BY_NAME = topics(a1=1, a2=1, a3=1, a4=1, b1=2, b2=2)


def test_each_topic_gives_its_share_of_its_most_informative_prompts() -> None:
    assert selected(drawn(FOUR_AND_TWO, None)) == ["a1", "a2", "a3"]
    # Places: a 1/8, 3/8, 5/8, 7/8, b 1/4, 3/4.
    sampled = drawn(FOUR_AND_TWO, BY_NAME)
    ranks = dict(sampled.informativeness.select("prompt_id", "draw").collect().iter_rows())
    assert ranks == {"a1": -1, "b1": -2, "a2": -3, "a3": -4, "b2": -5, "a4": -6}
    assert selected(sampled) == ["a1", "a2", "b1"]
    assert sampled.notes == ()


def test_a_topic_that_cannot_be_drawn_gives_its_share_to_the_others() -> None:
    sampled = drawn(FOUR_AND_TWO | {"b1": None, "b2": None, "c": None}, BY_NAME)
    assert selected(sampled) == ["a1", "a2", "a3", "a4"]
    assert sampled.notes[1] == (
        "none of the prompts of topic 2, those without a topic can be drawn: the other topics give more"
    )


def test_prompts_of_weight_0_count_for_their_topic_and_are_not_drawn() -> None:
    sampled = drawn(FOUR_AND_TWO | {"a3": 0.0, "a4": 0.0, "b2": 0.0}, BY_NAME, method="weighted")
    assert selected(sampled) == ["a1", "a2", "b1"]


def test_one_topic_is_the_draw_without_topics() -> None:
    one = BY_NAME.with_columns(topic=pl.lit(1, pl.Int32))
    for method in ("greedy", "uniform", "weighted", "stratified"):
        assert selected(drawn(FOUR_AND_TWO, one, method=method)) == selected(drawn(FOUR_AND_TWO, None, method=method))


def test_topics_without_room_are_left_out_by_a_hash_and_not_by_their_ids() -> None:
    values = {f"{number}": 1.0 for number in range(8)}
    each_its_own = topics(**{name: int(name) for name in values})
    firsts = [selected(drawn(values, each_its_own, fraction=0.125, seed=seed)) for seed in range(40)]
    assert all(len(first) == 1 for first in firsts) and len({first[0] for first in firsts}) == 8


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    fraction=st.sampled_from([0.1, 0.25, 0.5, 0.9]),
    method=st.sampled_from(["greedy", "uniform", "weighted", "stratified"]),
)
def test_no_topic_is_a_whole_prompt_from_its_share(sizes: list[int], fraction: float, method: str) -> None:
    names = [(f"{topic}-{place}", topic) for topic, size in enumerate(sizes) for place in range(size)]
    values: dict[str, float | None] = {name: 1.0 + place % 3 for place, (name, _) in enumerate(names)}
    sampled = drawn(values, topics(**dict(names)), fraction=fraction, method=method)
    taken = [name.partition("-")[0] for name in selected(sampled)]
    assert len(taken) == sampled.wanted
    share = sampled.wanted / len(names)
    # Webster's method may miss the exact quota by more than a half, and hardly ever by more than one.
    assert all(abs(taken.count(f"{topic}") - share * size) <= 1.5 for topic, size in enumerate(sizes))


# --- the cap -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "wanted", "cap", "expected"),
    [
        # Nothing is above its share.
        ([4, 3, 3], 10, 0.4, (10, 4)),
        # Forty of the other topics, and 17 of the first, which is floor(0.3 x 57); of 58, 17 and 40 are one too few.
        ([60, 10, 10, 10, 10], 100, 0.3, (57, 17)),
        ([97, 3], 100, 0.5, (6, 3)),
        # With two topics, none can have less than a half.
        ([50, 50], 80, 0.1, (80, 40)),
        ([7], 5, 0.2, (5, 5)),
        # Fewer prompts than topics: each topic may have one.
        ([5, 5, 5, 5], 2, 0.3, (2, 1)),
        ([3, 0, 0], 3, 0.1, (3, 3)),
        ([], 3, 0.5, (0, 0)),
        # 0.29 x 100 is 28.999... in floats.
        ([29, 29, 29, 29], 100, 0.29, (100, 29)),
    ],
)
def test_as_many_prompts_are_taken_as_the_cap_allows(
    counts: list[int], wanted: int, cap: float, expected: tuple[int, int]
) -> None:
    assert within_cap(counts, wanted, cap) == expected


@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=6),
    wanted=st.integers(0, 120),
    cap=st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.77, 1.0]),
)
def test_no_larger_set_keeps_the_cap(counts: list[int], wanted: int, cap: float) -> None:
    size, most = within_cap(counts, wanted, cap)
    share = max(Fraction(str(cap)), Fraction(1, len(counts)))

    def fits(n: int) -> bool:
        return sum(min(count, max(1, math.floor(share * n))) for count in counts) >= n

    assert size == max(n for n in range(min(wanted, sum(counts)) + 1) if fits(n))
    assert most == max(1, math.floor(share * size))


def seeds_of(before: dict[str, int]) -> pl.LazyFrame:
    turn = pl.concat_list(pl.struct(role=pl.lit("user"), content=pl.col("prompt_id")))
    seed = pl.lit("seed")
    columns = {"prompt": turn, "origin": seed, "mix_role": seed, "root_id": pl.col("prompt_id")}
    return conform(
        pl.DataFrame({"prompt_id": list(before)}).with_columns(**columns, source=pl.lit("s")), PROMPTS
    ).lazy()


def mixed_of(
    new: dict[str, int], before: dict[str, int], evolutions: pl.LazyFrame | None = None, **settings: object
) -> Mixed:
    """X_2 of evolved prompts, or of a table of them, and of seeds, by the topic of each."""
    if evolutions is None:
        turn = pl.concat_list(pl.struct(role=pl.lit("user"), content=pl.col("prompt_id")))
        chain = pl.lit(next(iter(before)))
        rows = pl.DataFrame({"prompt_id": list(new), "step": range(1, len(new) + 1)})
        evolutions = conform(
            rows.with_columns(prompt=turn, chain_id=chain, root_id=chain, iteration=2), EVOLUTIONS
        ).lazy()
    given_settings = {"evolved": 0.5, "seed": 1, "iteration": 2} | settings
    return mix(seeds_of(before), evolutions, topics=topics(**new, **before), **given_settings)  # type: ignore[arg-type]


SEEDS = {f"s{number:02}": number % 5 + 1 for number in range(20)}
ONE_KIND = {f"e{number:02}": 1 if number < 12 else 2 for number in range(16)}


def test_what_a_cap_leaves_out_has_a_reason_and_the_set_shrinks_in_its_ratio() -> None:
    free = mixed_of(ONE_KIND, SEEDS)
    assert free.result == Yield(previous=20, needed=10, found=16, taken=10, originals=10)
    capped = mixed_of(ONE_KIND, SEEDS, topic_cap=0.5)
    # Four of the second topic, and as many of the first.
    assert (capped.result.taken, capped.result.originals, capped.result.found) == (8, 8, 16)
    table = capped.evolutions.collect()
    kept = table.filter(pl.col("status") == "mixed")["prompt_id"].to_list()
    assert sorted(ONE_KIND[name] for name in kept) == [1] * 4 + [2] * 4
    out = table.filter(pl.col("reason") == "topic_cap")
    assert out["status"].unique().to_list() == ["unused"] and {ONE_KIND[name] for name in out["prompt_id"]} == {1}
    assert out.height == capped.result.capped > 0
    # They are exactly those that would be there without the cap.
    before = free.prompts.filter(pl.col("mix_role") == "evolved").collect()["prompt_id"].to_list()
    assert set(out["prompt_id"]) == set(before) - set(kept)
    originals = capped.prompts.filter(pl.col("mix_role") == "carried").collect()["prompt_id"].to_list()
    assert max([SEEDS[name] for name in originals].count(topic) for topic in range(1, 6)) <= 4


def test_a_mix_can_be_mixed_again_from_its_own_table() -> None:
    once = mixed_of(ONE_KIND, SEEDS, topic_cap=0.5)
    table = once.evolutions.collect()
    again = mixed_of(ONE_KIND, SEEDS, table.lazy(), topic_cap=0.5)
    assert again.result == once.result
    assert_frame_equal(again.evolutions.collect(), table)
    assert_frame_equal(again.prompts.collect(), once.prompts.collect())


def test_original_prompts_take_the_places_of_what_a_cap_leaves_out_if_the_settings_say_so() -> None:
    filled = mixed_of(ONE_KIND, SEEDS, topic_cap=0.5, shortfall="fill_original").result
    assert (filled.taken, filled.originals, filled.shrunk) == (8, 12, 0)
    with pytest.raises(DataError, match=r"10 new prompts are needed and 8 were found"):
        mixed_of(ONE_KIND, SEEDS, topic_cap=0.5, shortfall="error")


def test_a_single_topic_has_no_cap() -> None:
    one = {name: 1 for name in ONE_KIND}
    seeds = {name: 1 for name in SEEDS}
    assert mixed_of(one, seeds, topic_cap=0.1).result == mixed_of(one, seeds).result


def test_a_cap_needs_topics() -> None:
    with pytest.raises(DataError, match=r"`mix\.topic_cap` needs"):
        mix(
            pl.LazyFrame(schema=PROMPTS),
            pl.LazyFrame(schema=EVOLUTIONS),
            evolved=0.5,
            topic_cap=0.5,
            seed=1,
            iteration=2,
        )
