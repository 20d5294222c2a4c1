"""What a newcomer meets by mistake: each ends in one sentence or is simply printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from small_store import SETTINGS, small_store

from eva_data.cli import main
from eva_data.tables.reasons import REASONS


@pytest.mark.parametrize(("text", "found"), [("", "is empty"), ("# a remark\n", "is empty"), ("- a\n", "holds a list")])
def test_settings_without_keys_are_named_by_what_they_are(tmp_path: Path, text: str, found: str) -> None:
    path = tmp_path / "eva.yaml"
    path.write_text(text)
    done = CliRunner().invoke(main, ["status", "--config", str(path)])
    assert done.exit_code == 1
    assert done.output.startswith(f"Error: {path} {found}, expected keys and values such as `name: my-dataset`")


def test_every_reason_is_explained_and_an_unknown_one_gets_the_nearest() -> None:
    for reason, meaning in REASONS.items():
        done = CliRunner().invoke(main, ["explain", reason])
        assert done.exit_code == 0 and meaning in done.output
    done = CliRunner().invoke(main, ["explain", "all_rewards_eqal"])
    assert done.exit_code == 1
    assert done.output == "Error: no reason is called all_rewards_eqal: did you mean all_rewards_equal?\n"


def test_the_list_of_commands_is_not_cut() -> None:
    listed = CliRunner().invoke(main, ["--help"]).output.partition("Commands:")[2]
    assert "..." not in listed
    for command in main.commands.values():
        assert command.get_short_help_str(300) in " ".join(listed.split())


def test_status_prints_a_bracket_of_an_error_as_it_is_in_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    folder = small_store(tmp_path / "small").folder
    path = folder / "manifests" / "iter_1.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["rejects/[a].parquet"] = {"sha256": "0" * 64, "rows": 0, "bytes": 0}
    path.write_text(json.dumps(manifest))
    (tmp_path / "eva.yaml").write_text(yaml.safe_dump(SETTINGS))
    line = ["status", "--config", str(tmp_path / "eva.yaml"), "--set", f"folder={folder}"]
    done = CliRunner().invoke(main, line, catch_exceptions=False)
    assert "UNREADABLE" in done.output and "[a]" in done.output and "\\" not in done.output, done.output
    assert max(map(len, done.output.splitlines())) <= 80


def test_show_writes_to_an_output_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = small_store(tmp_path / "small", chosen="caf\u00e9 \u2192 \u732b").folder
    (tmp_path / "eva.yaml").write_text(yaml.safe_dump(SETTINGS))
    done = subprocess.run(
        [sys.executable, "-m", "eva_data.cli", "show", "--iter", "2", "--set", f"folder={folder}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"caf\\xe9 \\u2192 \\u732b" in done.stdout
