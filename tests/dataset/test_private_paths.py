"""Paths of a user's machine are not published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_store import SETTINGS, a_manifest

from eva_data.config.reading import parse_config
from eva_data.dataset.staleness import differences, what_counts, without_folders

SOLVER = {"backend": "api", "model": "m", "base_url": "http://127.0.0.1:1/v1"}


def test_paths_of_this_machine_stay_out_of_recorded_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private" / "prompts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    settings = SETTINGS | {
        "seeds": {"dataset": "private/prompts"},
        "solver": SOLVER | {"tokenizer": str(tmp_path / "private" / "tokenizer")},
        "creator": {"backend": "transformers", "model": "~/private/model"},
        "train": {"recipe": "./private/mine.yaml"},
    }
    config = parse_config(settings, "the test")
    recorded = without_folders(config.data() | {"name": config.name})
    assert "private" not in json.dumps([recorded, what_counts(config, 2)])
    assert recorded["seeds"]["dataset"] == "./prompts"
    assert recorded["solver"]["tokenizer"] == "./tokenizer"
    assert (recorded["creator"]["model"], recorded["train"]["recipe"]) == ("./model", "./mine.yaml")


def test_a_dataset_that_recorded_a_path_before_is_not_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "private" / "prompts").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = parse_config(SETTINGS | {"seeds": {"dataset": "private/prompts"}}, "the test")
    manifest = a_manifest(1, config=config.data() | {"name": config.name})
    assert differences(config, manifest) == []


def test_names_on_the_hub_are_recorded_as_they_are() -> None:
    config = parse_config(SETTINGS | {"seeds": {"dataset": "acme/prompts"}}, "the test")
    assert without_folders(config.data())["seeds"]["dataset"] == "acme/prompts"
