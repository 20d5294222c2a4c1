"""What a manifest records of the settings."""

from __future__ import annotations

from typing import Any

import pytest
from small_store import a_manifest

from eva_data.config import Config
from eva_data.config.reading import parse_config
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.staleness import differences, what_counts, without_folders

OWN_MODELS: dict[str, Any] = {
    "name": "own",
    "seeds": {"sandbox": 3},
    "solver": {"backend": "transformers", "model": "/home/anna/models/llama"},
    "creator": {"backend": "transformers", "model": "../rewriter"},
    "reward": {"backend": "classifier", "model": "~/models/judge-8b"},
    "train": {"recipe": "/home/anna/mine.yaml"},
}


def test_where_models_and_recipes_lie_on_a_machine_is_not_recorded() -> None:
    config = parse_config(OWN_MODELS, "the test")
    recorded = without_folders(config.data())
    assert recorded["solver"]["model"] == "./llama"
    assert recorded["creator"]["model"] == "./rewriter"
    assert recorded["reward"]["model"] == "./judge-8b"
    assert recorded["train"]["recipe"] == "./mine.yaml"
    assert "anna" not in str(what_counts(config, 2))


def recorded(config: Config) -> Manifest:
    """Iteration 1 as a build with these settings records it."""
    values = without_folders(config.data() | {"name": config.name})
    return a_manifest(1, config=values, settings=what_counts(config, 1))


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("/data/llama", []),
        ("/data/gemma", ["`solver.model` is './gemma', was './llama'"]),
        ("acme/llama", ["`solver.model` is 'acme/llama', was './llama'"]),
    ],
)
def test_a_model_may_move_to_another_folder_but_not_change_its_name(model: str, found: list[str]) -> None:
    first = recorded(parse_config(OWN_MODELS, "the test"))
    moved = parse_config(OWN_MODELS | {"solver": {"backend": "transformers", "model": model}}, "the test")
    assert differences(moved, first) == found
