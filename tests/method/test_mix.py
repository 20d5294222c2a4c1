"""X_t from evolved prompts and originals."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.errors import DataError
from eva_data.method.mix import Mixed, Yield, mix, shortage
from eva_data.tables.draws import share_of
from eva_data.tables.ranges import id_ranges
from eva_data.tables.schemas import EVOLUTIONS, PROMPTS, conform


def _turn(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _previous(ids: list[str], source: str = "seeds.jsonl") -> pl.LazyFrame:
    """X_1, which consists of seeds."""
    table = pl.DataFrame({"prompt_id": ids}, schema={"prompt_id": pl.String}).select(
        "prompt_id",
        prompt=pl.concat_list(pl.struct(role=pl.lit("user"), content=pl.concat_str(pl.lit("ask "), "prompt_id"))),
        origin=pl.lit("seed"),
        mix_role=pl.lit("seed"),
        created_iteration=1,
        iteration=1,
        root_id="prompt_id",
        depth=0,
        source=pl.lit(source),
    )
    return conform(table, PROMPTS).lazy()


def _evolutions(rows: list[tuple[str, int, str | None, str | None, str | None]]) -> pl.LazyFrame:
    """Attempts of iteration 2, from (chain_id, step, prompt_id, status, reason)."""
    table = pl.DataFrame(rows, schema=["chain_id", "step", "prompt_id", "status", "reason"], orient="row")
    table = table.with_columns(
        prompt=pl.when(pl.col("prompt_id").is_not_null()).then(
            pl.concat_list(pl.struct(role=pl.lit("user"), content=pl.concat_str(pl.lit("ask "), "prompt_id")))
        ),
        parent_id="chain_id",
        root_id="chain_id",
        depth="step",
        mutation=pl.lit("deepen"),
        raw=pl.lit("a reply"),
        creator=pl.lit("theta_1"),
        iteration=2,
    )
    return conform(table, EVOLUTIONS).lazy()


def _mix(prompts: pl.LazyFrame, evolutions: pl.LazyFrame, **settings: object) -> Mixed:
    given_settings = {"evolved": 0.8, "seed": 1, "iteration": 2} | settings
    return mix(prompts, evolutions, **given_settings)  # type: ignore[arg-type]


def _survivors(number: int, chains: list[str]) -> pl.LazyFrame:
    return _evolutions(
        [
            (chains[n % len(chains)], 1 + n // len(chains), f"{n * 91 % 256:02x}new{n:03}", None, None)
            for n in range(number)
        ]
    )


_NAMES = [f"{n * 37 % 256:02x}{n:03}" for n in range(40)]


def test_the_whole_of_a_small_mix() -> None:
    previous = _previous(["a", "b"], source="seeds.jsonl")
    evolutions = _evolutions(
        [
            ("b", 2, None, "eliminated", "no_prompt"),
            ("b", 1, "x", None, None),
            ("b", 3, "b", "eliminated", "duplicate"),
        ]
    )
    mixed = _mix(previous, evolutions, evolved=0.5)
    prompts = mixed.prompts.collect()
    original = prompts.filter(pl.col("mix_role") == "carried")["prompt_id"].item()
    expected = pl.DataFrame(
        {
            "prompt_id": [original, "x"],
            "prompt": [_turn(f"ask {original}"), _turn("ask x")],
            "origin": ["seed", "evolved"],
            "mix_role": ["carried", "evolved"],
            "created_iteration": [1, 2],
            "iteration": [2, 2],
            "parent_id": [None, "b"],
            "root_id": [original, "b"],
            "depth": [0, 1],
            "mutation": [None, "deepen"],
            "creator": [None, "theta_1"],
            "source": ["seeds.jsonl", "seeds.jsonl"],
            "answer": [None, None],
            "info": [None, None],
        },
        schema=PROMPTS,
    )
    assert_frame_equal(prompts, expected)
    statuses = pl.Series("status", ["mixed", "eliminated", "eliminated"])
    assert_frame_equal(
        mixed.evolutions.collect(), evolutions.sort("step").with_columns(statuses).collect(), check_exact=True
    )
    assert mixed.result == Yield(previous=2, needed=1, found=1, taken=1, originals=1)
    assert mixed.result.shrunk == 0


def test_a_surplus_is_cut_and_left_unused() -> None:
    mixed = _mix(_previous(_NAMES[:10]), _survivors(12, _NAMES[:3]))
    assert mixed.result == Yield(previous=10, needed=8, found=12, taken=8, originals=2)
    assert Counter(mixed.prompts.collect()["mix_role"]) == {"evolved": 8, "carried": 2}
    assert Counter(mixed.evolutions.collect()["status"]) == {"mixed": 8, "unused": 4}


def test_a_shortfall_shrinks_and_keeps_the_ratio() -> None:
    mixed = _mix(_previous(_NAMES[:20]), _survivors(6, _NAMES[:3]))
    # 6 x 0.2 / 0.8 = 1.5, rounded half up
    assert mixed.result == Yield(previous=20, needed=16, found=6, taken=6, originals=2)
    assert mixed.result.shrunk == 12
    assert mixed.prompts.collect().height == 8


def test_a_shortfall_can_be_filled_with_originals() -> None:
    mixed = _mix(_previous(_NAMES[:20]), _survivors(6, _NAMES[:3]), shortfall="fill_original")
    assert mixed.result == Yield(previous=20, needed=16, found=6, taken=6, originals=14)
    assert mixed.prompts.collect().height == 20


def test_a_shortfall_can_be_an_error() -> None:
    with pytest.raises(DataError, match=r"16 new prompts are needed and 6 were found.*`mix.shortfall`"):
        _mix(_previous(_NAMES[:20]), _survivors(6, _NAMES[:3]), shortfall="error")


def test_an_empty_prompt_set_is_an_error() -> None:
    with pytest.raises(DataError, match="of 20 prompts, 0 gave a new one"):
        _mix(_previous(_NAMES[:20]), _survivors(0, _NAMES[:1]))
    with pytest.raises(DataError, match="of 0 prompts"):
        _mix(_previous([]), _survivors(0, _NAMES[:1]))


def test_new_seeds_take_the_place_of_evolved_prompts() -> None:
    new_seeds = _previous([f"seed{n}" for n in range(10)])
    mixed = _mix(_previous(_NAMES[:10]), _survivors(9, _NAMES[:3]), source="new_seeds", new_seeds=new_seeds)
    assert mixed.result == Yield(previous=10, needed=8, found=10, taken=8, originals=2)
    assert Counter(mixed.prompts.collect()["mix_role"]) == {"seed": 8, "carried": 2}
    assert set(mixed.evolutions.collect()["status"]) == {"unused"}


def test_the_drawn_prompts_themselves_are_the_next_set() -> None:
    drawn = pl.LazyFrame({"prompt_id": _NAMES[:3]})
    alone = _mix(_previous(_NAMES[:10]), _evolutions([]), source="sampled", drawn=drawn, evolved=1.0)
    assert alone.result == Yield(previous=10, needed=3, found=3, taken=3, originals=0)
    expected = _previous(_NAMES[:3]).with_columns(mix_role=pl.lit("carried"), iteration=pl.lit(2, pl.Int32))
    assert_frame_equal(alone.prompts.collect(), expected.collect())
    beside = _mix(_previous(_NAMES[:10]), _evolutions([]), source="sampled", drawn=drawn, evolved=0.6)
    assert beside.result == Yield(previous=10, needed=3, found=3, taken=3, originals=2)
    assert set(_NAMES[:3]) < set(beside.prompts.collect()["prompt_id"]) < set(_NAMES[:10])
    strict = _mix(
        _previous(_NAMES[:10]), _evolutions([]), source="sampled", drawn=drawn, evolved=1.0, shortfall="error"
    )
    assert strict.result == alone.result, "a draw is no shortfall"


@pytest.mark.parametrize("source", ["evolved", "new_seeds", "sampled"])
def test_nothing_new_is_the_same_set_again(source: str) -> None:
    mixed = _mix(_previous(_NAMES[:5]), _evolutions([]), source=source, new_seeds=_previous(["seed0"]), evolved=0.0)
    assert mixed.result == Yield(previous=5, needed=0, found=int(source == "new_seeds"), taken=0, originals=5)
    assert Counter(mixed.prompts.collect()["mix_role"]) == {"carried": 5}


def test_originals_can_come_from_the_seeds() -> None:
    seeds = _previous([f"seed{n}" for n in range(5)])
    mixed = _mix(_previous(_NAMES[:10]), _survivors(9, _NAMES[:3]), original="seeds", seeds=seeds)
    prompts = mixed.prompts.collect()
    assert Counter(prompts["mix_role"]) == {"evolved": 8, "seed": 2}
    assert set(prompts["iteration"]) == {2}
    with pytest.raises(DataError, match="2 original prompts are needed and there are 1"):
        _mix(_previous(_NAMES[:10]), _survivors(9, _NAMES[:3]), original="seeds", seeds=_previous(["seed0"]))


def test_originals_from_the_seeds_are_other_ones_than_the_new_seeds() -> None:
    seeds = _previous([f"seed{n}" for n in range(10)])
    mixed = _mix(
        _previous(_NAMES[:10]),
        _evolutions([]),
        source="new_seeds",
        new_seeds=seeds.head(8),
        original="seeds",
        seeds=seeds,
    )
    assert mixed.prompts.collect()["prompt_id"].to_list() == [f"seed{n}" for n in range(10)]


def test_seeds_that_are_needed_and_not_given_are_named() -> None:
    with pytest.raises(DataError, match=r"`mix.source: new_seeds` needs seed prompts"):
        _mix(_previous(["a"]), _evolutions([]), source="new_seeds")
    with pytest.raises(DataError, match=r"`mix.original: seeds` needs seed prompts"):
        _mix(_previous(["a"]), _evolutions([]), original="seeds")


def test_a_prompt_that_would_be_there_twice_is_an_error() -> None:
    twice = _evolutions([("a", 1, "x", None, None), ("b", 1, "x", None, None)])
    with pytest.raises(DataError, match="1 prompts would be in the next prompt set twice, among them x"):
        _mix(_previous(["a", "b"]), twice)
    repeated = _evolutions([("a", 1, "b", None, None)])
    with pytest.raises(DataError, match="twice, among them b"):
        _mix(_previous(["a", "b"]), repeated)


def test_a_survivor_without_a_prompt_is_an_error() -> None:
    with pytest.raises(DataError, match="1 prompts have no `prompt_id`"):
        _mix(_previous(["a", "b"]), _evolutions([("a", 1, None, None, None)]))


def test_a_chain_from_nowhere_is_an_error() -> None:
    with pytest.raises(DataError, match=r"1 chains of evolutions start at prompts outside.*among them z"):
        _mix(_previous(["a", "b"]), _evolutions([("z", 1, "x", None, None), ("a", 1, "y", None, None)]))


def test_an_evolved_prompt_has_the_source_of_its_chain() -> None:
    previous = pl.concat([_previous(["a"], "web.jsonl"), _previous(["b"], "book.jsonl")])
    evolutions = _evolutions([("a", 1, "x", None, None), ("b", 1, "y", None, None)])
    prompts = _mix(previous, evolutions, evolved=1.0).prompts.collect()
    assert dict(prompts.select("prompt_id", "source").iter_rows()) == {"x": "web.jsonl", "y": "book.jsonl"}


def test_the_statuses_of_an_earlier_mix_change_nothing() -> None:
    previous, evolutions = _previous(_NAMES[:10]), _survivors(12, _NAMES[:3])
    first = _mix(previous, evolutions)
    again = _mix(previous, first.evolutions)
    assert_frame_equal(again.prompts.collect(), first.prompts.collect())
    assert_frame_equal(again.evolutions.collect(), first.evolutions.collect())


def test_the_shortage_is_what_survivors_lack_to_the_need() -> None:
    evolutions = _evolutions([("a", 1, "x", None, None), ("a", 2, "y", "eliminated", "duplicate")])
    assert shortage(evolutions, previous=10, evolved=0.8) == 7
    assert shortage(evolutions, previous=1, evolved=0.8) == 0


@given(st.integers(1, 40), st.integers(0, 60), st.floats(0.05, 1), st.sampled_from(["shrink", "fill_original"]))
def test_size_and_ratio(previous: int, found: int, evolved: float, shortfall: str) -> None:
    prompts, evolutions = _previous(_NAMES[:previous]), _survivors(found, _NAMES[:previous])
    needed = share_of(evolved, previous)
    if (min(found, needed) == 0 and previous - needed == 0) or (found == 0 < needed and shortfall == "shrink"):
        with pytest.raises(DataError, match="would be empty"):
            _mix(prompts, evolutions, evolved=evolved, shortfall=shortfall)
        return
    mixed = _mix(prompts, evolutions, evolved=evolved, shortfall=shortfall)
    table = mixed.prompts.collect()
    roles = Counter(table["mix_role"])
    assert roles["evolved"] == mixed.result.taken == min(found, needed)
    assert roles["carried"] == mixed.result.originals
    assert table["prompt_id"].is_unique().all()
    assert table["prompt_id"].is_sorted()
    if found >= needed or shortfall == "fill_original":
        assert table.height == previous
    else:
        assert abs(roles["evolved"] - evolved * table.height) <= 0.5 + 1e-9
    statuses = Counter(mixed.evolutions.collect()["status"])
    assert statuses == Counter(mixed=roles["evolved"], unused=found - roles["evolved"])


@pytest.mark.slow
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_neither_the_order_of_rows_nor_ranges_matter(random, parts: int) -> None:  # type: ignore[no-untyped-def]
    previous, evolutions = _previous(_NAMES).collect(), _survivors(50, _NAMES[:10]).collect()
    mixed = _mix(previous.lazy(), evolutions.lazy())
    shuffled = _mix(previous[random.sample(range(40), 40)].lazy(), evolutions[random.sample(range(50), 50)].lazy())
    ranges = id_ranges(parts)
    assert_frame_equal(pl.concat(r.of(shuffled.prompts) for r in ranges).collect(), mixed.prompts.collect())
    assert_frame_equal(
        pl.concat(r.of(shuffled.evolutions, "chain_id") for r in ranges).collect(), mixed.evolutions.collect()
    )


def test_the_seed_and_the_iteration_decide() -> None:
    previous, evolutions = _previous(_NAMES), _survivors(60, _NAMES[:10])
    base = _mix(previous, evolutions).prompts.collect()
    assert_frame_equal(_mix(previous, evolutions).prompts.collect(), base)
    for other in (_mix(previous, evolutions, seed=2), _mix(previous, evolutions, iteration=3)):
        assert other.prompts.collect()["prompt_id"].to_list() != base["prompt_id"].to_list()


def _with_anchors(known: list[str], **settings: object) -> tuple[list[str], list[str]]:
    """The originals of X_2 without and with at least a fifth of anchors; X_1 has 20 prompts, of which 4 are kept."""
    previous = _previous([f"s{number:02}" for number in range(20)])
    attempts = _evolutions([(f"s{number:02}", 1, f"e{number:02}", None, None) for number in range(20)])
    anchors = pl.LazyFrame({"prompt_id": known}, schema={"prompt_id": pl.String})
    mixes = [
        _mix(previous, attempts, **settings),
        _mix(previous, attempts, anchors=anchors, least_anchors=0.2, **settings),
    ]
    first, second = (
        mixed.prompts.filter(pl.col("mix_role") != "evolved").collect()["prompt_id"].to_list() for mixed in mixes
    )
    assert mixes[0].result == mixes[1].result
    return first, second


def test_a_draw_of_originals_with_enough_anchors_stays_as_it_is() -> None:
    plain, anchored = _with_anchors([f"s{number:02}" for number in range(20)])
    assert len(plain) == 4
    assert anchored == plain


def test_anchors_take_the_places_of_other_originals_as_far_as_there_are_so_many() -> None:
    plain, _ = _with_anchors([])
    others = [f"s{number:02}" for number in range(20) if f"s{number:02}" not in plain]
    _, all_anchors = _with_anchors(others[:4])
    assert all_anchors == others[:4]
    _, one = _with_anchors(others[:1])
    assert others[0] in one
    assert len(set(one) & set(plain)) == 3
    _, none = _with_anchors(["elsewhere"])
    assert none == plain
