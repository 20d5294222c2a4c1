"""A manifest names functions, and looking at its dataset or verifying it neither imports nor calls them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small_store import SETTINGS, a_manifest, small_store

from eva_data.cli import main
from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.marks import own_functions
from eva_data.config.reading import parse_config
from eva_data.dataset.store import Store
from eva_data.hub.consent import settings_text
from eva_data.hub.verify import verify_iteration
from eva_data.iteration.run import Run
from eva_data.own_code import load_function, only

CODE = """
import pathlib
pathlib.Path({stolen!r}).write_text("imported")
def steal(*given, **more):
    pathlib.Path({stolen!r}).write_text("called")
    return given[0]
"""
NAME = "module_of_mallory:steal"


@pytest.fixture
def stolen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What is there as soon as the module of the stranger is imported. It lies where imports look."""
    path = tmp_path / "stolen"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "module_of_mallory.py").write_text(CODE.format(stolen=str(path)))
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.chdir(tmp_path)
    yield path
    sys.modules.pop("module_of_mallory", None)


def told(store: Store, change: Callable[[dict[str, Any]], object]) -> None:
    for path in (store.folder / "manifests").glob("iter_*.json"):
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))


def hostile(folder: Path) -> Store:
    """A dataset whose manifests name the function as metric, reward and method, with a reward that the name fits."""
    store = small_store(folder)

    def change(manifest: dict[str, Any]) -> None:
        config = manifest["config"]
        config["estimate"]["metric"] = NAME
        config["evolve"]["method"] = NAME
        config["reward"] |= {"function": NAME, "version": "1"}
        manifest["models"]["reward"] = f"verifier:{NAME}@1"
        manifest["inputs"] = {"reward.function": "1", "seeds.path": "0" * 64}

    told(store, change)
    return store


def test_verify_without_settings_of_the_user_loads_nothing(tmp_path: Path, stolen: Path) -> None:
    store = hostile(tmp_path / "data")
    for iteration in (1, 2):
        found = verify_iteration(store, iteration)
        assert [said for said in found.unknown if f"`{NAME}` in the manifest" in said]
    assert not stolen.exists()


def test_verify_loads_only_what_the_users_own_settings_name(tmp_path: Path, stolen: Path) -> None:
    store = hostile(tmp_path / "data")
    config = parse_config(SETTINGS | {"folder": str(store.folder)}, "the test")
    assert [said for said in verify_iteration(store, 1, Run(config, ConsoleReporter())).unknown if NAME in said]
    assert not stolen.exists()
    mine = parse_config(SETTINGS | {"folder": str(store.folder), "estimate": {"metric": NAME}}, "the test")
    verify_iteration(store, 1, Run(mine, ConsoleReporter()))
    assert stolen.read_text() == "called"


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("show", "--iter", "1"),
        ("report",),
        ("verify", "--iter", "1"),
        ("verify", "--iter", "2", "--rescore", "3"),
        ("build", "--iter", "3", "--dry-run"),
        ("plan", "--iter", "3"),
    ],
)
def test_looking_at_a_pulled_dataset_loads_nothing(tmp_path: Path, stolen: Path, command: tuple[str, ...]) -> None:
    store = hostile(tmp_path / "data")
    text = settings_text(store.manifest(2), "mallory/gift", store.folder)
    (tmp_path / "eva.yaml").write_text(text)
    done = CliRunner().invoke(main, list(command))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    assert not stolen.exists()
    if command[0] in ("build", "plan") or "--rescore" in command:
        assert "came with a pulled dataset and wait for you" in done.output


def test_settings_consent_to_each_function_that_they_name(tmp_path: Path, stolen: Path) -> None:
    more = {"estimate": {"metric": "a:b"}, "evolve": {"method": "c:d"}}
    assert own_functions(parse_config(SETTINGS | more, "x")) == {"a:b", "c:d", "eva_data.sandbox.verifier:score"}
    with only({NAME}):
        assert load_function(NAME, "estimate.metric")("x") == "x"


def test_what_a_manifest_says_of_evaluations_ratings_and_places_is_dropped() -> None:
    model = {"backend": "api", "model": "openai/gpt-4o", "base_url": "http://evil/v1"}
    evil = {
        "evaluate": {
            "heldout": 3,
            "allow_same_judge": True,
            "judges": [model],
            "sets": [
                {"name": "x", "path": "/evil", "rule": "evil:f", "judge_template": "/evil", "baseline": "/evil"},
                {"name": "y", "dataset": "evil/x", "rule": "verifier"},
            ],
        },
        "score": {"model": model, "sample": 9},
        "train": {"accept": {"min_win_rate": 0.5}, "accelerate": "/evil/a.yaml", "report_to": ["evil"]},
        "publish": {"repo": "evil/x", "licence": "mit", "private": False},
        "review": {"api_url": "http://evil", "publish": "full"},
        "ledger": "/evil/ledger",
    }
    config = parse_config(SETTINGS | evil, "the test")
    manifest = a_manifest(1, config=config.model_dump(mode="json"))
    text = settings_text(manifest, "a/b", Path("d"))
    assert "evil" not in text
    assert "score" not in [line.partition(":")[0] for line in text.splitlines()]
    assert "evaluate:\n  heldout: 3\n" in text
