"""The dataset folder: tables in one or several files, and the remains of an interrupted write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml
from datasets import load_dataset
from hub_server import Hub, Repo
from small_store import a_manifest, replace_table, small_store

from eva_data import files
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.report.card import write_card
from eva_data.tables.schemas import LATER, PREFERENCES, REJECTS, TABLES, conform


def rejects(count: int) -> pl.DataFrame:
    rows = [
        {"stage": "pair", "reason": f"reason {row:03}", "prompt_id": f"{row:03}", "iteration": 1}
        for row in range(count)
    ]
    return conform(pl.DataFrame(rows), REJECTS)


def test_a_table_that_grows_too_large_goes_on_in_further_files_and_is_read_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small_store(tmp_path / "small")
    manifest = store.manifest(1)
    tables = {
        name: store.scan(name, 1).collect() for name in ("prompts", "preferences", "informativeness", "responses")
    }
    # Any byte is too many here: a file ends with its first row group, which has 20,000 rows otherwise.
    monkeypatch.setattr(files, "ROW_GROUP_ROWS", 40)
    sealed = store.write_iteration(manifest, tables | {"rejects": rejects(100)}, shard_bytes=1)

    names = [f"rejects/iter_1-0000{number}-of-00003.parquet" for number in (1, 2, 3)]
    assert [(name, sealed.files[name].rows) for name in names] == list(zip(names, (40, 40, 20), strict=True))
    assert sorted(path.name for path in (store.folder / "rejects").iterdir() if "iter_1" in path.name) == [
        name.removeprefix("rejects/") for name in names
    ]
    assert store.changed_files(1) == []
    assert store.scan("rejects", 1).collect().equals(rejects(100))
    assert store.scan_until("rejects", 1).collect().height == 100

    write_card(store)
    front = yaml.safe_load((store.folder / "README.md").read_text().split("---")[1])
    splits = next(config["data_files"] for config in front["configs"] if config["config_name"] == "rejects")
    assert {"split": "iter_1", "path": names} in splits
    loaded = load_dataset(str(store.folder), "rejects", split="iter_1", cache_dir=str(tmp_path / "cache"))
    assert loaded["reason"] == [f"reason {row:03}" for row in range(100)]

    # The same table in one file again: no file of the other writing stays.
    store.write_iteration(manifest, tables | {"rejects": rejects(100)})
    assert [path.name for path in (store.folder / "rejects").glob("*iter_1*")] == ["iter_1.parquet"]


def test_a_missing_part_of_a_table_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    monkeypatch.setattr(files, "ROW_GROUP_ROWS", 2)
    store.write_iteration(a_manifest(1), {"rejects": rejects(4)}, shard_bytes=1)
    (tmp_path / "rejects" / "iter_1-00002-of-00002.parquet").unlink()
    with pytest.raises(
        DataError, match=r"the table .*iter_1-00002-of-00002\.parquet is missing: restore it, or remove"
    ):
        store.scan("rejects", 1)
    assert store.changed_files(1) == ["rejects/iter_1-00002-of-00002.parquet"]


FULL_DISK = """
import random, resource, sys
from pathlib import Path
import polars as pl
from eva_data import files
from eva_data.tables.schemas import REJECTS, conform
from eva_data.dataset.store import Store
from small_store import a_manifest

files.ROW_GROUP_ROWS = 2
noise = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=50_000))
rows = [{"stage": "pair", "text": text} for text in ("a", "b", "c", "d", "e", noise)]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
table = conform(pl.DataFrame(rows), REJECTS)
Store(Path(sys.argv[1])).write_iteration(a_manifest(1), {"rejects": table}, shard_bytes=1)
"""


@pytest.mark.slow
def test_a_write_that_fails_leaves_no_part_of_a_table(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    paths = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=paths, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "OSError: [Errno 27] File too large"
    assert list((tmp_path / "rejects").iterdir()) == []
    assert Store(tmp_path).iterations() == []


LATER_LOAD = """
import json, sys
from datasets import load_dataset
loaded = {split: load_dataset(sys.argv[1], "preferences", split=split) for split in sys.argv[2:]}
print(json.dumps({split: [list(table["iteration"]), list(table["later"])] for split, table in loaded.items()}))
"""


@pytest.mark.slow
def test_iterations_without_and_with_a_later_column_are_read_and_loaded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small_store(tmp_path / "small")
    before = {path: path.read_bytes() for path in store.folder.rglob("iter_*.parquet")}
    pairs = store.scan("preferences", 2).collect()
    manifest = store.manifest(2)
    tables = {name: store.scan(name, 2).collect() for name in TABLES if name != "reviews"}

    # A later release has one column more, and says something in it.
    monkeypatch.setitem(TABLES, "preferences", pl.Schema(PREFERENCES | {"later": pl.Float64}))
    monkeypatch.setitem(LATER, "preferences", LATER["preferences"] | {"later"})
    unsaid = tables | {"preferences": pairs.with_columns(later=pl.lit(None, pl.Float64))}
    store.write_iteration(manifest, unsaid)
    assert {path: path.read_bytes() for path in before} == before
    store.write_iteration(manifest, tables | {"preferences": pairs.with_columns(later=pl.lit(0.5))})
    write_card(store)

    assert store.scan("preferences", 1).collect()["later"].to_list() == [None, None]
    both = store.scan_until("preferences", 2).select("iteration", "later").collect()
    assert both.rows() == [(1, None), (1, None), (2, 0.5)]
    splits = ("iter_1", "iter_2", "iter_1+iter_2", "iter_2+iter_1")
    with Hub(tmp_path / "hub") as hub:
        repo = hub.repos["alice/small"] = Repo(private=True)
        paths = [path for path in store.folder.rglob("*") if path.is_file() and ".eva" not in path.parts]
        repo.add({str(path.relative_to(store.folder)): path.read_bytes() for path in paths}, "both")
        for source in (str(store.folder), "alice/small"):
            done = hub.python(tmp_path, "-c", LATER_LOAD, source, *splits)
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout) == {
                "iter_1": [[1, 1], [None, None]],
                "iter_2": [[2], [0.5]],
                "iter_1+iter_2": [[1, 1, 2], [None, None, 0.5]],
                "iter_2+iter_1": [[2, 1, 1], [0.5, None, None]],
            }


def test_other_columns_than_those_of_later_releases_are_still_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = small_store(tmp_path / "small")
    monkeypatch.setitem(TABLES, "preferences", pl.Schema(PREFERENCES | {"later": pl.Float64}))
    monkeypatch.setitem(LATER, "preferences", LATER["preferences"] | {"later"})
    path = store.folder / "preferences" / "iter_1.parquet"
    pairs = pl.read_parquet(path)
    for changed, problem in (
        (pairs.drop("verdict_by"), r"columns \['verdict_by'\] are missing"),
        (pairs.with_columns(strange=1), r"columns \['strange'\] are unknown"),
        (pairs.with_columns(later=1), "later is Int32, expected Float64"),
        (pairs.with_columns(pl.col("depth").cast(pl.Int64)), "depth is Int64, expected Int32"),
    ):
        replace_table(store, "preferences", 1, changed)
        with pytest.raises(DataError, match=problem):
            store.scan("preferences", 1)
