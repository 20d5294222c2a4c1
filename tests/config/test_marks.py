"""Every key has exactly one mark, so that a pull cannot activate a new key that nobody has thought about."""

from __future__ import annotations

import pytest

from eva_data.config import Prices
from eva_data.config.base import Settings
from eva_data.config.consequences import consequences
from eva_data.config.marks import MARKS, _block, key_variables, mark_of, named
from eva_data.config.reading import load_config, parse_config


def blocks(base: type[Settings] = Settings) -> list[type[Settings]]:
    """All blocks of settings that an eva.yaml may contain."""
    found = [block for kind in base.__subclasses__() for block in (kind, *blocks(kind))]
    return [block for block in found if block.__module__.startswith("eva_data.config")]


def own_keys(block: type[Settings]) -> set[str]:
    return set(block.model_fields) & set(block.__annotations__)


def test_every_key_of_every_block_has_a_mark_and_every_mark_a_key() -> None:
    declared = {block.__name__: own_keys(block) for block in blocks()}
    marked = {block: set(keys) for block, keys in MARKS.items()}
    unmarked = {f"{block}.{key}" for block, keys in declared.items() for key in keys - marked.get(block, set())}
    assert unmarked == set(), "mark these in config/marks.py by what they can do"
    assert {f"{block}.{key}" for block, keys in marked.items() for key in keys - declared.get(block, set())} == set()


def test_a_key_without_a_mark_counts_as_code() -> None:
    class Later(Prices):
        anything: int = 0

    assert (mark_of(Later, "anything"), mark_of(Later, "input")) == ("code", "value")
    assert [found[:3] for found in named(Later(input=1, output=1, anything=2))] == [("anything", "code", 2)]


def test_a_key_has_one_mark() -> None:
    with pytest.raises(ValueError, match="`model` has two marks, value and model"):
        _block(value="model", model="model")
    with pytest.raises(ValueError, match="`harmless` is no mark"):
        _block(harmless="model")


def test_what_settings_would_do_is_said_key_by_key() -> None:
    config = parse_config(
        {
            "name": "x",
            "seeds": {"dataset": "acme/prompts"},
            "solver": {"backend": "api", "model": "gemini/flash", "extra_body": {"user": "mallory"}},
            "creator": {"backend": "api", "model": "m", "base_url": "http://127.0.0.1:1/v1", "api_key_env": "MY_KEY"},
            "reward": {"backend": "verifier", "function": "cProfile:run"},
            "evolve": {"benchmarks": [{"name": "b", "path": "b.jsonl"}]},
        },
        "the test",
    )
    assert consequences(config) == [
        "`seeds.dataset` reads the data set acme/prompts, and its rows go to the models",
        "`solver.model` asks for the model gemini/flash at its provider, with your key and at your expense",
        "`solver.extra_body` puts {'user': 'mallory'} into every request, beside your key",
        "`creator.base_url` sends requests to http://127.0.0.1:1/v1",
        "`creator.api_key_env` signs requests with the key in the environment variable MY_KEY",
        "`creator.model` asks for the model m at http://127.0.0.1:1/v1",
        "`reward.function` calls cProfile:run on this machine with prompts and responses",
        "`evolve.benchmarks.0.path` reads or writes b.jsonl",
    ]
    assert key_variables(config) == {"MY_KEY", "ARGILLA_API_KEY"}


def test_numbers_and_choices_of_the_sandbox_need_no_consent() -> None:
    found = {one.key for one in named(load_config())}
    assert found == {"creator.model", "folder", "solver.model", "reward.function", "train.recipe"}
