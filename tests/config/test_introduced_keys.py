"""A new key or a changed default does not make an older dataset stale. A table says what the older dataset meant."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from eva_data.config import Config, Evolve, base, introduced
from eva_data.config.base import Execution, Settings
from eva_data.config.introduced import INTRODUCED
from eva_data.config.reading import parse_config

FIRST: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "keys_of_0_1_0.json").read_text(encoding="utf-8")
)
"""Settings class -> data key -> default, as of 0.1.0."""
REQUIRED = "(required)"


def blocks(of: type[Settings] = Settings) -> Iterator[type[Settings]]:
    """Every settings class of the config."""
    for block in of.__subclasses__():
        if block.__module__.startswith("eva_data.config"):
            yield block
        yield from blocks(block)


def default_of(block: type[Settings], key: str) -> Any:
    value = block.model_fields[key].get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return REQUIRED
    return json.loads(json.dumps(value, default=lambda one: one.model_dump(mode="json")))


def data_keys(block: type[Settings]) -> list[str]:
    return [name for name, field in block.model_fields.items() if (field.json_schema_extra or {}) != Execution]


BLOCKS = [block for _, block in sorted({block.__name__: block for block in blocks()}.items())]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_data_key_that_0_1_0_had_not_or_had_with_another_default_says_what_it_meant_then(
    block: type[Settings],
) -> None:
    first, meant = FIRST.get(block.__name__, {}), INTRODUCED.get(block.__name__, {})
    if block.__name__ not in FIRST:
        # A block that did not exist is in no older manifest; a key that holds it has a line of its own.
        return
    for key in data_keys(block):
        if key not in first:
            assert key in meant, f"{block.__name__}.{key} is new: say in INTRODUCED what a manifest without it means"
        elif isinstance(block.model_fields[key].get_default(call_default_factory=True), Settings):
            # A block; its keys are walked by themselves.
            continue
        elif first[key] != default_of(block, key):
            assert key in meant, f"the default of {block.__name__}.{key} changed: say in INTRODUCED what it was"


def test_the_table_names_keys_that_there_are() -> None:
    known = {block.__name__: block for block in blocks()}
    for name, keys in INTRODUCED.items():
        assert set(keys) <= set(known[name].model_fields), name


MINIMAL: dict[str, Any] = {
    "name": "small",
    "seeds": {"sandbox": 3},
    "solver": {"backend": "transformers", "model": "acme/base"},
    "reward": {"backend": "verifier", "function": "eva_data.sandbox.verifier:score"},
}


def test_a_key_that_a_manifest_lacks_counts_as_its_meaning_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "INTRODUCED", {"Evolve": {"max_tokens": 300}, "Config": {"seed": 7}})
    assert parse_config(MINIMAL, "a new eva.yaml").evolve.max_tokens == 512
    old = parse_config(MINIMAL | {"evolve": {}}, "the manifest", recorded=True)
    assert (old.seed, old.evolve.max_tokens) == (7, 300)
    given = parse_config(MINIMAL | {"seed": 1, "evolve": {"max_tokens": 5}}, "the manifest", recorded=True)
    assert (given.seed, given.evolve.max_tokens) == (1, 5)


def test_what_is_hashed_leaves_a_later_key_out_while_it_means_what_it_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "INTRODUCED", {"Evolve": {"candidates": 1}})
    assert "candidates" not in Evolve().identity()
    assert Evolve().data()["candidates"] == 1
    assert Evolve(candidates=3).identity()["candidates"] == 3


def test_a_renamed_key_works_and_says_its_new_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RENAMED", {"Evolve": {"longest": "max_tokens"}})
    with pytest.warns(FutureWarning, match="the key `longest` is called `max_tokens` now: rename it"):
        config = parse_config(MINIMAL | {"evolve": {"longest": 2}}, "eva.yaml")
    assert isinstance(config, Config)
    assert config.evolve.max_tokens == 2


def test_no_name_is_taken_for_renaming_twice() -> None:
    for names in introduced.RENAMED.values():
        assert len(set(names.values())) == len(names)
