"""Datasets in Python: load, verify, build and evolve."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import polars as pl
import pytest

import eva_data as ed
from eva_data.errors import ConfigError, DataError, StaleError
from eva_data.ledger import Ledger


@pytest.mark.slow
def test_a_folder_is_loaded_and_verified(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(built, folder)
    curriculum = ed.load(folder)
    assert curriculum.iterations == [1, 2]
    pairs = curriculum.pairs().collect()
    assert pairs.height == sum(curriculum.manifest(number).counts.pairs for number in (1, 2))
    assert curriculum.table("prompts", 2).collect()["iteration"].unique().to_list() == [2]
    assert ed.verify(folder).problems == []
    with pytest.raises(ConfigError, match="there is no table `pairs`: expected one of preferences"):
        curriculum.table("pairs")
    with pytest.raises(StaleError, match="no iteration 3"):
        curriculum.pairs(3)
    (table,) = (folder / "preferences").glob("iter_2*.parquet")
    pl.read_parquet(table).head(1).write_parquet(table)
    assert any("preferences" in problem for problem in ed.verify(folder, 2).problems)
    with pytest.raises(DataError, match="preferences"):
        curriculum.pairs(2)


def test_what_is_no_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no iteration of eva-data"):
        ed.load(tmp_path)
    with pytest.raises(DataError, match=r"there is no folder .*: name a dataset's folder, or a dataset on the Hub"):
        ed.load(tmp_path / "none")


def test_scored_responses_are_built_in_python(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = pl.DataFrame({"prompt": ["a", "a"], "response": ["1", "2"], "reward": [0.0, 1.0]})
    table.write_parquet(tmp_path / "scored.parquet")
    config = {
        **{"name": "scored", "folder": str(tmp_path / "data")},
        "solver": {"backend": "table", "path": str(tmp_path / "scored.parquet")},
    }
    with caplog.at_level(logging.INFO, "eva_data"):
        curriculum = ed.build(config)
    columns = ("prompt", "chosen", "rejected", "score_chosen", "score_rejected")
    assert curriculum.pairs(1).select(columns).collect().equals(ed.pairs(table))
    assert ed.build(config).iterations == [1]
    with pytest.raises(ConfigError, match="`overrides` go with the path"):
        ed.build(config, overrides=["seed=1"])


@pytest.mark.slow
def test_a_model_rewrites_prompts_and_is_not_asked_twice(tmp_path: Path) -> None:
    prompts = pl.DataFrame({"prompt": ["Say how many letters the word sweet has."]})

    def evolve() -> pl.DataFrame:
        return ed.evolve(
            prompts,
            creator={"model": "sandbox", "threads": 1},
            evolutions=2,
            method="evol_instruct",
            settings={"max_tokens": 128, "near_duplicate": None},
            folder=tmp_path,
        )

    def calls() -> int:
        with Ledger(tmp_path / ".eva" / "ledger.sqlite") as ledger:
            return sum(bill["replies"] for bill in ledger.bills())

    first = evolve()
    assert first.columns == ["prompt", "root", "step", "reason", "raw", "strategy"]
    assert first.select("root", "step").rows() == [(prompts["prompt"][0], 1), (prompts["prompt"][0], 2)]
    asked = calls()
    assert asked > 0
    assert evolve().equals(first)
    assert calls() == asked
