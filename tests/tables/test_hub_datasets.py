"""Datasets from a local folder as `datasets` finds them. Our readers read their text files and infer no types."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from eva_data.errors import DataError
from eva_data.tables.reading import Source, open_hub


def rows(folder: Path, split: str = "train", config: str | None = None) -> list[tuple[object, ...]]:
    source: Source = open_hub(str(folder), config, split, None, "solver.dataset")
    return source.collect(source.map(lambda frame, _: frame)).rows()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.DOWNLOADED_DATASETS_PATH", tmp_path / "downloads")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


def test_digits_of_a_csv_stay_text(folder: Path) -> None:
    (folder / "data.csv").write_text("prompt,response\nq,007\nq,7\nq,NA\n")
    assert rows(folder) == [("q", "007"), ("q", "7"), ("q", "NA")]


def test_files_of_one_split_may_differ_in_columns(folder: Path) -> None:
    (folder / "train-a.jsonl").write_text('{"prompt": "a"}\n')
    (folder / "train-b.jsonl").write_text('{"prompt": "b", "note": "x"}\n')
    (folder / "test-a.jsonl").write_text('{"prompt": "t"}\n')
    assert rows(folder) == [("a", None), ("b", "x")]
    assert rows(folder, "test") == [("t",)]


def test_tables_are_read_by_datasets(folder: Path) -> None:
    pl.DataFrame({"prompt": ["007"]}).write_parquet(folder / "train.parquet")
    assert rows(folder) == [("007",)]


def test_what_datasets_says_is_one_sentence_that_names_the_dataset(folder: Path) -> None:
    pl.DataFrame({"prompt": ["a"]}).write_parquet(folder / "train-a.parquet")
    pl.DataFrame({"other": [1]}).write_parquet(folder / "train-b.parquet")
    for split, config in (("train", None), ("validation", None), ("train", "nothing")):
        with pytest.raises(DataError) as caught:
            rows(folder, split, config)
        said = str(caught.value)
        assert said.startswith(f"the Hub dataset {folder} (split {split}) cannot be loaded: ")
        assert said.endswith(
            "; correct `solver.dataset`, `solver.config`, `solver.split` or `solver.revision`, or download its files "
            "and name them by `solver.path`"
        )
        assert "\n" not in said


def test_a_broken_line_of_a_hub_file_is_said_with_its_place(folder: Path) -> None:
    (folder / "a.jsonl").write_text('{"prompt": "a"}\n{"prompt":\n')
    with pytest.raises(
        DataError, match=r"`solver.dataset`: .*a\.jsonl, line 2: this is not JSON: expecting value \(in line 3\)"
    ):
        rows(folder)
