"""A small file that unpacks to a huge one is refused before it fills the memory, whatever its format and its claims."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eva_data.errors import DataError
from eva_data.tables.reading import open_path, unpacked
from eva_data.tables.reading.unpacked import parquet_bytes

BOMB = "a" * 3_000_000


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files may unpack to a megabyte at once, so that a bomb of three is enough."""
    monkeypatch.setattr(unpacked, "FREE", 1_000_000)


def texts(path: Path) -> pl.DataFrame:
    source = open_path(path, "seeds.path")
    return source.collect(source.map(lambda frame, _: frame.select("prompt")))


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("one.jsonl", json.dumps({"prompt": BOMB}) + "\n"),
        ("many.jsonl", (json.dumps({"prompt": BOMB[:1000]}) + "\n") * 3000),
        ("one.json", json.dumps([{"prompt": BOMB}])),
        ("one.csv", f"prompt\n{BOMB}\n"),
        ("header.csv", f"{BOMB},prompt\n1,2\n"),
        ("one.txt", f"{BOMB}\n"),
        ("one.tsv", f"prompt\tb\n{BOMB}\t1\n"),
    ],
)
def test_a_packed_text_that_unpacks_to_a_huge_one(
    tmp_path: Path, name: str, content: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / name
    path.write_bytes(pack(content.encode()))
    with pytest.raises(DataError, match=f"{name} unpacks to more than 100 times its size and more than 0.001 GB"):
        texts(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.jsonl",
            '{"prompt": "x"}\n{"prompt": "' + BOMB,
            "line 2: the value that begins here has more",
        ),
        ("a.txt", "x\n" + BOMB, "line 2 has more than 1,000,000 characters"),
        ("a.csv", "prompt\nx\n" + BOMB, "line 3 has more than 1,000,000 characters"),
    ],
)
def test_a_row_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str, said: str
) -> None:
    for module in ("json_values", "text_files", "csv_files"):
        monkeypatch.setattr(f"eva_data.tables.reading.{module}.LONGEST_ROW", 1_000_000)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        texts(tmp_path / name)


LONG: dict[str, tuple[pa.Table, dict[str, Any]]] = {
    "different texts": (pa.table({"prompt": [BOMB[:1000] + str(n) for n in range(3000)]}), {"use_dictionary": False}),
    "one text": (pa.table({"prompt": [BOMB]}), {}),
    "a text many times": (pa.table({"prompt": [BOMB[:30_000]] * 100}), {}),
    "a text many times in lists": (
        pa.table({"prompt": ["x"] * 100, "messages": [[{"role": "user", "content": BOMB[:30_000]}]] * 100}),
        {},
    ),
    "a common beginning": (
        pa.table({"prompt": [BOMB[:30_000] + str(n) for n in range(100)]}),
        {"use_dictionary": False, "column_encoding": {"prompt": "DELTA_BYTE_ARRAY"}},
    ),
    "bytes of one length": (
        pa.table({"prompt": ["x"] * 100, "b": pa.array([b"a" * 30_000] * 100, pa.binary(30_000))}),
        {},
    ),
    "nothing many times": (pa.table({"prompt": pa.nulls(1_000_000, pa.string())}), {}),
}


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("name", LONG)
def test_a_small_parquet_file_that_unpacks_to_a_huge_one(tmp_path: Path, name: str, version: str) -> None:
    table, options = LONG[name]
    path = tmp_path / "bomb.parquet"
    pq.write_table(table, path, compression="zstd", data_page_version=version, **options)
    assert path.stat().st_size < 30_000
    with pytest.raises(DataError, match=r"bomb.parquet unpacks to more than 100 times its size"):
        texts(path)


def test_sizes_that_the_footer_leaves_out_are_found_in_the_pages(tmp_path: Path) -> None:
    """Headers of pages say the same as the footer of a file that tells the truth, with sixteen bytes a value at
    least."""
    path = tmp_path / "a.parquet"
    rows = pa.table({"prompt": [BOMB[:1000] + str(n) for n in range(3000)], "n": list(range(3000))})
    pq.write_table(rows, path, row_group_size=700, use_dictionary=False, write_page_index=True)
    footer = pq.read_metadata(path)
    groups = [footer.row_group(group) for group in range(footer.num_row_groups)]
    texts_alone = sum(group.column(0).total_uncompressed_size for group in groups)
    headers = 200 * footer.num_row_groups
    assert texts_alone + 3000 * 16 - headers < parquet_bytes(path) <= texts_alone + 3000 * 16


def test_honest_files_are_counted_and_read(tmp_path: Path) -> None:
    rows = pl.DataFrame({"prompt": [f"What is {n} + {n}?" for n in range(1000)], "right": [True, False] * 500})
    rows.write_parquet(tmp_path / "a.parquet")
    assert parquet_bytes(tmp_path / "a.parquet") < 100_000
    assert texts(tmp_path / "a.parquet")["prompt"].to_list() == rows["prompt"].to_list()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(rows.write_ndjson().encode()))
    assert texts(tmp_path / "a.jsonl.gz")["prompt"].to_list() == rows["prompt"].to_list()
