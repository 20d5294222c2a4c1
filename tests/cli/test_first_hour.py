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
from eva_data.tables.reasons import GROUPS, REASONS

CHECKOUT = Path(__file__).parents[2]


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


def test_explain_and_the_page_list_every_reason_once_in_its_group() -> None:
    listed = CliRunner().invoke(main, ["explain"]).output
    page = (CHECKOUT / "docs" / "reasons.md").read_text(encoding="utf-8")
    for reason, meaning in REASONS.items():
        assert listed.count(f"\n  {reason}: {meaning}\n") == 1
        assert page.count(f"| `{reason}` | {meaning} |\n") == 1
    assert GROUPS.keys() <= REASONS.keys()
    heads = [line.removeprefix("## ") for line in page.splitlines() if line.startswith("## ")]
    assert heads == [line.rstrip(":") for line in listed.splitlines() if not line.startswith(" ") and line]
    assert json.loads(CliRunner().invoke(main, ["explain", "--json"]).output)["reasons"] == dict(REASONS)
    one = CliRunner().invoke(main, ["explain", "tie"]).output
    assert one.splitlines()[1] == "All reasons: eva-data explain, or docs/reasons.md"


def eva(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "eva_data", *words]
    return subprocess.run(line, cwd=folder, env=os.environ | environment, capture_output=True, check=False)


SEEDS = """name: mine
seeds: {path: seeds}
solver: {backend: transformers, model: sandbox, device: cpu}
reward: {backend: verifier, function: "eva_data.sandbox.verifier:score"}
"""


def test_broken_jsonl_is_named_with_its_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "eva.yaml").write_text(SEEDS.replace("path: seeds", "path: broken.jsonl"))
    (tmp_path / "broken.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt": "c\n')
    done = eva(tmp_path, "build", "--iter", "1", "--json")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().startswith("Error: `seeds.path`: broken.jsonl, line 3: this is not JSON: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_wrong_override_of_the_sandbox_names_no_file_of_the_package(tmp_path: Path) -> None:
    done = eva(tmp_path, "status", "--set", "smaple.fraction=1")
    assert done.returncode == 1
    assert "\nError: the changed settings of the sandbox: unknown key `smaple`" in done.stderr.decode()


def test_a_wrong_name_of_a_repo_is_all_that_pull_says(tmp_path: Path) -> None:
    done = eva(tmp_path, "pull", "mine")
    assert done.returncode == 1
    assert done.stderr == b"Error: `mine` does not say whose repo it is: write it as owner/mine\n"


def test_a_folder_of_files_is_read_as_seeds_and_one_without_any_is_said(tmp_path: Path) -> None:
    (tmp_path / "eva.yaml").write_text(SEEDS)
    (tmp_path / "seeds").mkdir()
    done = eva(tmp_path, "plan", "--iter", "1", "--json")
    assert done.returncode == 1
    assert done.stderr.decode().startswith("Error: `seeds.path` is seeds, "), done.stderr
    assert b"not on this machine" not in done.stderr
    for number in (1, 2):
        rows = (json.dumps({"prompt": f"Add the word sky to the end of word{number}{row}."}) for row in range(3))
        (tmp_path / "seeds" / f"part-{number}.jsonl").write_text("\n".join(rows) + "\n")
    done = eva(tmp_path, "plan", "--iter", "1", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prompts"] == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            "solver={backend: transformers, model: nobody/none, device: cpu}",
            "Error: the model nobody/none is not on this machine and the Hub cannot be reached: check the network, or "
            "name a local folder\n",
        ),
        (
            "seeds={dataset: nobody/none, split: train}",
            "Error: the Hub dataset nobody/none (split train) is not on this machine and the Hub cannot be reached: "
            "check the network, or download its files and name them by `seeds.path`\n",
        ),
    ],
)
def test_without_a_network_a_missing_hub_id_is_one_sentence(tmp_path: Path, settings: str, sentence: str) -> None:
    (tmp_path / "eva.yaml").write_text(SEEDS)
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "a.jsonl").write_text('{"prompt": "a"}\n')
    hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    done = eva(tmp_path, "build", "--iter", "1", "--set", settings, **hub)
    assert (done.returncode, done.stderr.decode(), done.stdout) == (1, sentence, b"")


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


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_show_writes_to_an_output_that_is_not_utf_8(tmp_path: Path, environment: dict[str, str]) -> None:
    folder = small_store(tmp_path / "small", chosen="caf\u00e9 \u2192 \u732b").folder
    (tmp_path / "eva.yaml").write_text(yaml.safe_dump(SETTINGS))
    done = subprocess.run(
        [sys.executable, "-m", "eva_data.cli", "show", "--iter", "2", "--set", f"folder={folder}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONCOERCECLOCALE": "0"} | environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"caf\\xe9 \\u2192 \\u732b" in done.stdout
