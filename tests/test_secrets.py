"""Values of secret variables are never written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from small_store import SETTINGS, a_manifest, small_store

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import parse_config
from eva_data.dataset.store import Store
from eva_data.iteration.run import Run
from eva_data.jobs.job import ERROR, JOB, Job, write_error
from eva_data.secrets import redact, redact_file, redacted, secret_values

KEY = "sk-planted-0123456789"


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", KEY)
    monkeypatch.setenv("EVA_DATA_SECRET_VARIABLES", "")
    monkeypatch.setenv("OTHER_API_KEY", "other-0123456789")


def settings_that_name_it(folder: Path) -> dict[str, Any]:
    solver = {"backend": "api", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "MINE"}
    return SETTINGS | {"solver": solver, "folder": str(folder)}


def test_a_variable_is_secret_by_its_name_or_because_the_settings_name_it(tmp_path: Path) -> None:
    assert redact(f"{KEY} other-0123456789") == f"{KEY} ***"
    assert redact(f"{KEY} other-0123456789", ["MINE"]) == "*** ***"
    Run(parse_config(settings_that_name_it(tmp_path), "x"), ConsoleReporter())
    assert redact(f"{KEY} other-0123456789") == "*** ***"
    child = "from eva_data.secrets import redact; print(redact('sk-planted-' + '0123456789'))"
    assert subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout == "***\n"


def test_words_and_paths_are_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SERVER_API_KEY", "EMPTY")
    monkeypatch.setenv("SSL_KEY", str(tmp_path))
    assert not {"EMPTY", str(tmp_path)} & set(secret_values())


def test_a_longer_secret_goes_before_a_shorter_one_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT_TOKEN", "abcdefgh")
    monkeypatch.setenv("LONG_TOKEN", "abcdefgh-ijkl")
    assert redacted({"a": ["abcdefgh-ijkl", 1, None], "abcdefgh": "x"}) == {"a": ["***", 1, None], "***": "x"}


def test_tables_manifests_and_cards_do_not_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVA_DATA_SECRET_VARIABLES", "MINE")
    store = small_store(tmp_path / "data", chosen=f"your key is {KEY}", seed=f"Say {KEY}.")
    store.write_iteration(a_manifest(3, notes=(f"the server said {KEY}",), config={"solver": {"a": KEY}}), {})
    written = [path for path in store.folder.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert [path for path in written if KEY.encode() in path.read_bytes()] == []
    responses = store.scan("responses", 1).collect()
    assert "your key is ***" in responses["response"].to_list()
    tables = [store.scan(name, 1).collect() for name in ("prompts", "preferences", "responses")]
    assert not any(KEY in json.dumps(table.to_dicts(), default=str) for table in tables)


def test_job_files_and_logs_do_not_hold_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVA_DATA_SECRET_VARIABLES", "MINE")
    job = Job(tmp_path, "respond", model={"backend": "remote", "headers": f"Bearer {KEY}"})
    job.save()
    write_error(tmp_path, ValueError(f"401: {KEY} is wrong"))
    assert KEY not in (tmp_path / JOB).read_text() + (tmp_path / ERROR).read_text()
    store = Store(tmp_path / "data")
    with store.locked():
        log = store.log("respond-iter_1")
        log.parent.mkdir()
        log.write_bytes(b"\xff before " + KEY.encode() + b" after\n" * 3)
    assert log.read_bytes() == b"\xff before *** after\n after\n after\n"


def test_a_file_without_a_secret_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("nothing")
    os.utime(path, (1, 1))
    redact_file(path)
    assert path.stat().st_mtime == 1


def test_a_table_without_a_secret_is_the_same_table(tmp_path: Path) -> None:
    from eva_data.tables.redaction import without_secrets

    table = pl.DataFrame({"a": ["x", None], "b": [[{"c": "y", "d": 1}], None]})
    assert without_secrets(table) is table or without_secrets(table).equals(table)
