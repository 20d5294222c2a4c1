"""Ids and draws are functions of content alone."""

from __future__ import annotations

import hashlib

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal

from eva_data.tables.ids import pair_id, prompt_id, uniform_draw
from eva_data.tables.ranges import id_ranges
from eva_data.tables.schemas import MESSAGES

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def _ids(*conversations: list[dict[str, str]] | None) -> list[str | None]:
    table = pl.DataFrame({"prompt": conversations}, schema={"prompt": MESSAGES})
    return table.select(prompt_id(pl.col("prompt"))).to_series().to_list()


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_prompt_id_is_the_sha256_of_roles_and_contents() -> None:
    conversation = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    expected = hashlib.sha256(b"system\x1fBe brief.\x1euser\x1fWhy?").hexdigest()[:32]
    assert _ids(conversation) == [expected]


def test_prompt_id_does_not_see_unicode_form_line_ends_and_outer_blanks() -> None:
    composed = _user("caf\u00e9\nau lait")
    spellings = [_user("cafe\u0301\nau lait"), _user("caf\u00e9\r\nau lait"), _user(" \tcaf\u00e9\rau lait\n")]
    assert set(_ids(composed, *spellings)) == set(_ids(composed))


def test_prompt_id_sees_everything_else() -> None:
    variants = [_user("Why?"), _user("why?"), _user("Why ?"), _user("Wh y?"), [{"role": "system", "content": "Why?"}]]
    assert len(set(_ids(*variants, _user("Why?") + _user("Why?")))) == 6


def test_prompt_id_of_nothing_is_null() -> None:
    assert _ids(None) == [None]


@given(st.lists(_TEXTS, min_size=1, max_size=5))
def test_prompt_id_of_a_row_does_not_depend_on_the_other_rows(texts: list[str]) -> None:
    together = _ids(*[_user(text) for text in texts])
    assert together == [_ids(_user(text))[0] for text in texts]


def test_pair_id_is_that_of_the_unordered_pair() -> None:
    pairs = pl.DataFrame({"id": ["p", "p", "p", "q"], "a": ["x", "y", "x", "x"], "b": ["y", "x", "z", "y"]})
    ids = pairs.select(pair_id(pl.col("id"), pl.col("a"), pl.col("b"))).to_series()
    assert ids[0] == ids[1]
    assert ids.n_unique() == 3


def test_a_draw_belongs_to_seed_stage_iteration_and_key() -> None:
    keys = pl.DataFrame({"key": ["a", "b"]})
    draws = keys.select(
        base=uniform_draw(pl.col("key"), seed=1, stage="sample", iteration=2),
        again=uniform_draw(pl.col("key"), seed=1, stage="sample", iteration=2),
        seed=uniform_draw(pl.col("key"), seed=2, stage="sample", iteration=2),
        stage=uniform_draw(pl.col("key"), seed=1, stage="mix", iteration=2),
        iteration=uniform_draw(pl.col("key"), seed=1, stage="sample", iteration=3),
    )
    assert_series_equal(draws["base"], draws["again"], check_names=False)
    assert len({value for column in draws.drop("again") for value in column}) == 8


def test_a_draw_does_not_depend_on_the_place_of_its_row() -> None:
    keys = pl.DataFrame({"key": [str(number) for number in range(1000)]})
    draw = uniform_draw(pl.col("key"), seed=7, stage="sample", iteration=1).alias("draw")
    shuffled = keys.sample(fraction=1, shuffle=True, seed=1)
    assert_frame_equal(
        keys.with_columns(draw).sort("key"), shuffled.lazy().with_columns(draw).collect(engine="streaming").sort("key")
    )


@given(st.lists(st.text(max_size=5)), st.integers(1, 40))
def test_ranges_divide_all_ids_in_their_order(ids: list[str], parts: int) -> None:
    table = pl.DataFrame({"prompt_id": sorted(ids)}, schema={"prompt_id": pl.String})
    pieces = [id_range.of(table.lazy()).collect() for id_range in id_ranges(parts)]
    assert len(pieces) == parts
    assert_frame_equal(pl.concat(pieces), table)


def test_ranges_of_hashes_are_even() -> None:
    ids = pl.DataFrame({"prompt_id": [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in range(7000)]})
    sizes = [id_range.of(ids.lazy()).collect().height for id_range in id_ranges(7)]
    # 1000 expected, standard deviation 29.
    assert all(abs(size - 1000) < 130 for size in sizes)


def test_draws_are_uniform() -> None:
    draws = pl.select(uniform_draw(pl.int_range(100_000).cast(pl.String), seed=3, stage="mix", iteration=1)).to_series()
    assert draws.min() > 0 and draws.max() < 1  # type: ignore[operator]
    per_tenth = (draws * 10).cast(pl.Int32).value_counts().get_column("count").cast(pl.Int64)
    # 10000 expected, standard deviation 95.
    assert per_tenth.len() == 10
    assert (per_tenth - 10_000).abs().max() < 400  # type: ignore[operator]
