"""Folders, globs and saved datasets: the files that are read, and the notes on the other files."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from datasets import Dataset, DatasetDict

from eva_data.errors import DataError
from eva_data.tables.reading import open_path


def put(path: Path, *prompts: str, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [pl.lit(value).alias(name) for name, value in more.items()]
    pl.DataFrame({"prompt": prompts}).with_columns(columns).write_parquet(path)


def read(path: Path, split: str = "train") -> tuple[list[str], tuple[str, ...]]:
    source = open_path(path, "seeds.path", split=split)
    found = source.collect(source.map(lambda frame, _: frame.select("prompt")))
    return found["prompt"].to_list(), source.notes


def refused(path: Path, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        read(path, split)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_a_folder_is_its_shards_and_not_what_lies_beside_them(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    put(folder / "b.parquet", "B", extra=1)
    put(folder / "a.parquet", "A")
    put(folder / ".hidden.parquet", "H")
    for name, content in (("README.md", "# a"), ("_SUCCESS", ""), ("stats.json", "{}"), ("c.parquet", "")):
        (folder / name).write_text(content)
    assert read(folder) == (["A", "B"], ("shards: c.parquet, stats.json left out, 2 files read",))


def test_a_path_is_a_path_and_only_another_one_a_glob(tmp_path: Path) -> None:
    folder = tmp_path / "runs [v2]"
    put(folder / "a[1].parquet", "bracket")
    put(folder / "a1.parquet", "one")
    put(tmp_path / "runs v" / "a1.parquet", "wrong")
    assert read(folder / "a[1].parquet") == (["bracket"], ())
    assert read(folder / "a[12].parquet") == (["one"], ())
    assert read(folder / "a*.parquet") == (["one", "bracket"], ())
    assert read(tmp_path / "runs*" / "**" / "a1.parquet")[0] == ["one", "wrong"]
    assert refused(folder / "z*.parquet") == (
        "`seeds.path` is z*.parquet, and there is no such file or folder, and as a glob it meets nothing: correct the "
        "path"
    )


def test_of_a_folder_with_splits_only_one_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    for split, number in (("train", 0), ("train", 1), ("test", 0)):
        put(folder / "data" / f"{split}-0000{number}-of-00002.parquet", f"{split}{number}")
    assert read(folder) == (["train0", "train1"], ("set: the files of the split train are read, not those of test",))
    assert read(folder, "test")[0] == ["test0"]
    assert refused(folder, "dev") == (
        "`seeds.path` is set, which has files of the splits test, train, and none of `dev`: name one by a glob"
    )


def test_saved_datasets_are_read(tmp_path: Path) -> None:
    saved = Dataset.from_dict({"prompt": ["007", "b"]})
    saved.save_to_disk(tmp_path / "one")
    DatasetDict({"train": saved, "test": saved.select([1])}).save_to_disk(tmp_path / "both")
    assert read(tmp_path / "one") == (["007", "b"], ())
    assert read(tmp_path / "both") == (["007", "b"], ())
    assert read(tmp_path / "both", "test") == (["b"], ())
    assert refused(tmp_path / "both", "dev") == "`seeds.path` is both, which has the splits train, test, and no `dev`"
    next((tmp_path / "one").glob("*.arrow")).unlink()
    assert refused(tmp_path / "one") == (
        "`seeds.path` is one, a saved dataset that lacks its files data-00000-of-00001.arrow"
    )


def test_folders_that_could_mean_several_things_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "two" / "a.parquet", "A")
    (tmp_path / "two" / "b.jsonl").write_text('{"prompt": "B"}')
    assert refused(tmp_path / "two") == (
        "`seeds.path` is two, which holds files of several formats (parquet, json): name one by a glob, such as "
        "two/*.parquet"
    )
    for name in ("prompts", "preferences"):
        put(tmp_path / "built" / name / "iter_1.parquet", "A")
    assert refused(tmp_path / "built") == (
        "`seeds.path` is built, which has data in its folders preferences, prompts: name one of them, or a glob where "
        "all belong together"
    )
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "README.md").write_text("x")
    assert refused(tmp_path / "none") == (
        "`seeds.path` is none, and there is no file of data among README.md: expected .parquet, .jsonl, .ndjson, "
        ".json, .csv, .tsv, .txt, .arrow, .feather"
    )


def test_shards_may_differ_in_columns_and_types(tmp_path: Path) -> None:
    put(tmp_path / "set" / "a.parquet", "A")
    pl.DataFrame({"prompt": [7], "more": [None]}).write_parquet(tmp_path / "set" / "b.parquet")
    pl.DataFrame({"more": ["x"]}).write_parquet(tmp_path / "set" / "c.parquet")
    source = open_path(tmp_path / "set", "seeds.path")
    assert source.schema == {"prompt": pl.String, "more": pl.String}
    found = source.collect(source.map(lambda frame, _: frame.select(pl.col("prompt", "more").cast(pl.String))))
    assert found.rows() == [("A", None), ("7", None), (None, "x")]
