"""What the Hub finds a dataset by: its languages, the datasets its seeds are from, and its tags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from eva_data.cli import main
from eva_data.dataset.store import Store
from eva_data.files import write_json
from eva_data.report.card import dataset_card

ENGLISH = [f"Explain to a beginner how the {thing} works, and name two of its parts." for thing in ("pump", "clock")]
GERMAN = [f"Erkläre einem Anfänger, wie {thing} funktioniert, und nenne zwei Teile davon." for thing in ("ein Rad",)]
CODE = ["x = 1"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("languages")
    rows = [
        {"prompt": prompt, "response": text, "reward": n}
        for prompt in (*ENGLISH, *GERMAN, *CODE)
        for n, text in enumerate(("Nein.", "Yes."))
    ]
    (place / "scored.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    solver = {"backend": "table", "path": str(place / "scored.jsonl")}
    settings = {"name": "acme/x", "folder": str(place / "data"), "solver": solver}
    (place / "eva.yaml").write_text(json.dumps(settings), encoding="utf-8")
    done = CliRunner().invoke(main, ["build", "--iter", "1", "--config", str(place / "eva.yaml")])
    assert done.exit_code == 0, done.output
    return place / "data"


def front(folder: Path) -> dict[str, Any]:
    card = dataset_card(Store(folder), [1], repo=None, revision=None, licence=None)
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def changed(folder: Path, config: dict[str, Any]) -> None:
    """Write other settings into the manifest of iteration 1."""
    path = folder / "manifests" / "iter_1.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["config"] |= config
    write_json(path, manifest)


def test_languages_are_those_that_the_prompts_are_surely_written_in(built: Path) -> None:
    found = front(built)
    assert found["language"] == ["en", "de"]
    assert "source_datasets" not in found
    assert found["tags"] == ["eva", "preference", "dpo", "trl", "self-play", "synthetic", "distilabel"]


VERIFIER = {"backend": "verifier", "function": "m:f", "answers": None, "version": ""}
JUDGE = {"backend": "judge", "judge": {"model": "acme/judge"}, "lowest": 1, "highest": 5}


@pytest.mark.parametrize(
    ("config", "sources", "tag"),
    [
        ({"seeds": {"dataset": "acme/seeds"}, "reward": VERIFIER}, ["acme/seeds"], None),
        ({"seeds": {"dataset": "./seeds"}, "reward": JUDGE}, None, "rlaif"),
        ({"seeds": {"dataset": None}, "reward": {"backend": "several", "rewards": [VERIFIER, JUDGE]}}, None, "rlaif"),
    ],
)
def test_sources_are_datasets_of_the_hub_and_rlaif_means_rewards_of_models(
    config: dict[str, Any], sources: list[str] | None, tag: str | None, built: Path
) -> None:
    path = built / "manifests" / "iter_1.json"
    before = path.read_bytes()
    try:
        changed(built, config)
        found = front(built)
    finally:
        path.write_bytes(before)
    assert found.get("source_datasets") == sources
    assert found["tags"][7:] == ([tag] if tag else [])
