"""Tables that are made, ordered and written part by part are those that are made at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from eva_data.dataset.ordered import in_order
from eva_data.dataset.spool import Spool
from eva_data.files import sha256, write_shards
from eva_data.tables.schemas import ORDER, REJECTS, RESPONSES, TABLES, conform

ROWS = st.lists(
    st.tuples(
        st.sampled_from(["seeds", "reward", "pair"]),
        st.sampled_from(["a", "b", "b: more", "no rest"]),
        st.none() | st.sampled_from(["00", "3f", "7fffffff", "80000000", "ffffffffff", "z"]),
        st.none() | st.sampled_from(["x", "y"]),
        st.integers(1, 3),
    ),
    max_size=30,
)


def rejects(rows: Sequence[tuple[str, str, str | None, str | None, int]]) -> pl.DataFrame:
    columns = ["stage", "reason", "prompt_id", "text", "iteration"]
    return conform(
        pl.DataFrame(rows, dict.fromkeys(columns, pl.String) | {"iteration": pl.Int32}, orient="row"), REJECTS
    )


@settings(max_examples=30)
@given(ROWS, st.integers(1, 40))
def test_parts_in_canonical_order_are_the_table_sorted_at_once(
    rows: list[tuple[str, str, str | None, str | None, int]], at_once: int
) -> None:
    table = rejects(rows)
    parts = pl.concat(in_order(table.lazy(), "rejects", at_once=at_once))
    assert_frame_equal(parts, table.sort(ORDER["rejects"], nulls_last=True, maintain_order=True))


@pytest.mark.parametrize("name", TABLES)
def test_every_table_can_be_parted_by_an_id(name: str) -> None:
    ids = ["00", "7f", "80", "ff"] * 3
    given = pl.DataFrame({column: ids for column, dtype in TABLES[name].items() if dtype == pl.String})
    table = conform(given, TABLES[name])
    parts = list(in_order(table.lazy(), name, at_once=4))
    assert len([part for part in parts if part.height]) > 1
    unused = [column for column in TABLES[name] if column not in parts[0].columns]
    expected = table.drop(unused).sort(ORDER[name], nulls_last=True, maintain_order=True)
    assert_frame_equal(pl.concat(parts), expected)


def test_texts_that_differ_only_in_a_secret_are_ordered_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "mmmm-secret-mmmm")
    rows = [("respond", reason, id_, None, 1) for id_ in ("ff", "00") for reason in ("mmmm-secret-mmmm", "***", "n")]
    found = pl.concat(in_order(rejects(rows).lazy(), "rejects", at_once=1))
    assert found.select("reason", "prompt_id").rows() == [("***", "00")] * 2 + [("***", "ff")] * 2 + [
        ("n", "00"),
        ("n", "ff"),
    ]


@pytest.mark.parametrize("most_bytes", [1, 10_000, 10**9])
def test_a_spool_gives_its_rows_back_in_order_or_sorted_by_a_key(tmp_path: Path, most_bytes: int) -> None:
    ids = [f"{number:04x}" for number in range(500)]
    rows = conform(
        pl.DataFrame({"prompt_id": ids, "response": ids, "reward": [0.5] * 500, "response_idx": range(500)}), RESPONSES
    )
    shuffled = rows.sample(fraction=1, shuffle=True, seed=1)
    kept, keyed = (
        Spool(tmp_path, name, RESPONSES, key=key, most_bytes=most_bytes)
        for name, key in (("kept", None), ("keyed", "prompt_id"))
    )
    for part in shuffled.iter_slices(120):
        kept.add(part)
        keyed.add(part)
    assert kept.height == keyed.height == 500
    assert_frame_equal(kept.table().collect(), shuffled)
    assert_frame_equal(keyed.table().sort("prompt_id").collect(), rows)
    assert len(list(tmp_path.glob("keyed-*.parquet"))) == {1: 5, 10_000: 1, 10**9: 0}[most_bytes]


@pytest.mark.parametrize(
    ("key", "length", "groups"),
    [(None, 10, [20_000, 10_000]), (None, 1000, [8_388] * 3 + [4_836]), ("text", 10, [2_000] * 15)],
)
def test_rows_are_read_or_skipped_in_groups_that_are_small_for_long_texts_and_for_sorted_files(
    tmp_path: Path, key: str | None, length: int, groups: list[int]
) -> None:
    texts = pl.DataFrame({"text": [f"{number:0{length}}" for number in range(30_000)]})
    spool = Spool(tmp_path, "texts", texts.schema, key=key, most_bytes=1)
    spool.add(texts)
    metadata = pq.read_metadata(tmp_path / "texts-000000.parquet")
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == groups
    assert_frame_equal(spool.table().collect(), texts)


@pytest.mark.parametrize("most_bytes", [1, 10**9])
def test_files_do_not_depend_on_how_their_rows_came(tmp_path: Path, most_bytes: int) -> None:
    random.seed(3)
    texts = [None if number % 7 == 0 else f"{random.random()} " * (number % 5) for number in range(70_000)]
    whole = pl.DataFrame({"text": texts, "number": range(70_000)}).to_arrow()
    parts = [whole.slice(first, length) for first, length in ((0, 1), (1, 0), (1, 39_999), (40_000, 30_000))]
    hashes = [
        [sha256(path) for path in write_shards(tmp_path / name / "t.parquet", table, most_bytes)]
        for name, table in (("one", whole), ("several", iter(parts)))
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == (4 if most_bytes == 1 else 1)
    empty: list[pa.Table] = [whole.slice(0, 0)] * 2
    assert len(write_shards(tmp_path / "empty.parquet", empty, most_bytes)) == 1
