"""What a script relies on: `--json` and `--quiet` of every command, exit codes, `python -m eva_data`, completion."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import polars as pl
import pytest

from eva_data.cli import main
from eva_data.cli.output import plain

CHECKOUT = Path(__file__).parents[2]
SCORED = pl.DataFrame({"prompt": ["a", "a"], "response": ["1", "2"], "reward": [0.0, 1.0]})


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command of the tree that is no group, with the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


def eva(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "eva_data", *words]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A folder with an eva.yaml on scored responses, which are built in a second."""
    SCORED.write_parquet(tmp_path / "scored.parquet")
    (tmp_path / "eva.yaml").write_text("name: mine\nsolver: {backend: table, path: scored.parquet}\n")
    return tmp_path


def test_every_command_has_json_and_quiet_and_its_keys_are_documented() -> None:
    page = (CHECKOUT / "docs" / "scripts.md").read_text()
    told = dict(line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| `"))
    found = dict(commands(main))
    assert len(found) > 15
    for name, command in found.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert {"--json", "--quiet"} <= options, name
        keys = command.callback.json_keys  # type: ignore[union-attr]
        assert told[f"`{name}`"] == ", ".join(f"`{key}`" for key in keys)
    assert told.keys() == {f"`{name}`" for name in found}


def test_commands_print_one_object_or_nothing(table: Path) -> None:
    assert eva(table, "build", "--iter", "1", "--quiet").stdout == ""
    for words in (("build", "--iter", "1"), ("status",), ("show", "--iter", "1"), ("verify", "--iter", "1")):
        done = eva(table, *words, "--json")
        assert done.returncode == 0, done.stderr
        values = json.loads(done.stdout)
        command = main.commands[words[0]]
        assert tuple(values) == command.callback.json_keys  # type: ignore[union-attr]
        if words[0] == "build":
            assert (values["iteration"], values["folder"], values["counts"]["pairs"]) == (1, "data/mine", 1)
        if words[0] == "status":
            assert [(each["iteration"], each["pairs"]) for each in values["iterations"]] == [(1, 1)]
        if words[0] == "show":
            assert values["lineages"][0]["chosen"] == [{"role": "assistant", "content": "2"}]
        if words[0] == "verify":
            assert values["problems"] == []
    assert eva(table, "build", "--iter", "1", "--json", "--quiet").returncode == 2


def test_verify_names_what_is_broken_as_json_and_the_code_is_1(table: Path) -> None:
    assert eva(table, "build", "--iter", "1", "--quiet").returncode == 0
    path = table / "data" / "mine" / "preferences" / "iter_1.parquet"
    pl.read_parquet(path).with_columns(score_chosen=pl.lit(0.5)).write_parquet(path)
    done = eva(table, "verify", "--iter", "1", "--json")
    assert done.returncode == 1 and done.stderr == ""
    values = json.loads(done.stdout)
    assert list(values) == ["iteration", "source", "problems", "unknown"]
    assert (values["iteration"], values["source"]) == (1, "data/mine")
    assert any("preferences/iter_1.parquet" in problem for problem in values["problems"])
    assert all(isinstance(sentence, str) for sentence in [*values["problems"], *values["unknown"]])


def test_an_error_is_a_sentence_and_the_code_1_and_stdout_is_empty(table: Path) -> None:
    done = eva(table, "show", "--iter", "7", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: data/mine has no iteration 7")


def test_ctrl_c_gives_130_and_says_that_repeating_goes_on(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "eva_data", "build", "--iter", "1", "--set", "seeds.sandbox=24"]
    with subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True) as build:
        deadline = time.monotonic() + 120
        while not (tmp_path / "data" / "eva-sandbox" / ".eva" / "jobs").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(build.pid, signal.SIGINT)
        _, said = build.communicate(timeout=120)
    assert build.returncode == 130
    assert "Interrupted: what was finished is kept; repeat the command, and it goes on from there." in said
    assert "Traceback" not in said


def test_the_shell_completes_commands() -> None:
    environment = os.environ | {"_EVA_DATA_COMPLETE": "bash_complete", "COMP_WORDS": "eva-data pu", "COMP_CWORD": "1"}
    line = [sys.executable, "-c", "import sys; from eva_data.cli import main; sys.exit(main(prog_name='eva-data'))"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["plain,publish", "plain,pull"]


def test_numbers_that_json_does_not_have_are_null() -> None:
    assert plain({"a": float("inf"), "b": (1, Path("x"))}) == {"a": None, "b": [1, "x"]}
