"""Settings that a pulled eva.yaml activates, and settings that wait for the user."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from published import accept
from small_store import SETTINGS, a_manifest

from eva_data.config.reading import load_config, parse_config
from eva_data.errors import ConfigError
from eva_data.foreign import HIDDEN
from eva_data.hub.consent import recorded_settings, settings_text

API: dict[str, Any] = {"backend": "api", "model": "gemini/flash"}


def text_of(**settings: Any) -> str:
    config = parse_config(SETTINGS | settings, "the test").data() | {"name": SETTINGS["name"]}
    named = {key: value for key, value in settings.items() if key == "name"}
    return settings_text(a_manifest(1, config=config | named), "a/b", Path("d"))


def active(text: str) -> dict[str, Any]:
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("settings", "waiting"),
    [
        ({}, ["solver", "reward"]),
        ({"solver": API | {"extra_body": {"user": "mallory"}}}, ["solver", "reward"]),
        ({"creator": API}, ["solver", "creator", "reward"]),
        ({"seeds": {"dataset": "acme/prompts"}}, ["seeds", "solver", "reward"]),
        ({"seeds": {"path": "unknown"}}, ["seeds", "solver", "reward"]),
        ({"seeds": {"environment": "reasoning_gym/gcd", "size": 3}}, ["seeds", "solver", "reward"]),
        ({"reward": {"backend": "judge", "judge": API}}, ["solver", "reward"]),
        ({"train": {"recipe": "/home/me/recipe.yaml"}}, ["solver", "reward", "train.recipe"]),
        ({"evolve": {"benchmarks": [{"name": "b", "path": "unknown"}]}}, ["solver", "reward", "evolve.benchmarks"]),
        ({"solver": {"backend": "table", "dataset": "acme/scored"}, "seeds": None, "reward": None}, ["solver"]),
    ],
)
def test_what_is_no_value_waits(settings: dict[str, Any], waiting: list[str]) -> None:
    found = active(text_of(**settings))
    assert found["undecided"] == waiting
    for key in waiting:
        block, _, inner = key.partition(".")
        assert block not in found if not inner else inner not in found[block]
    assert found["sample"]["fraction"] == 0.25
    assert found["folder"] == "d"


def test_nothing_is_built_until_each_key_is_decided(tmp_path: Path) -> None:
    path = tmp_path / "eva.yaml"
    path.write_text(text_of(creator=API))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert str(error.value) == (
        f"{path}: `solver`, `creator`, `reward` came with a pulled dataset and wait for you: read what it would do, "
        "then uncomment it, write your own, or take its name out of `undecided`"
    )
    with pytest.raises(ConfigError, match="`creator`, `reward` came"):
        load_config(path, ["solver.model=acme/mine"])
    accept(path)
    config = load_config(path)
    assert config.creator != "shared"
    assert config.data() == parse_config(SETTINGS | {"creator": API}, "x").data()


def test_what_a_manifest_says_beyond_what_counts_is_dropped() -> None:
    config = parse_config(SETTINGS, "x").data() | {"name": "small"}
    config["solver"] |= {"device": "cuda"}
    config |= {"ledger": "/home/me/ledger", "publish": {"repo": "evil/repo"}, "review": {"api_url": "http://evil"}}
    manifest = a_manifest(1, config=config)
    assert recorded_settings(manifest).publish.repo is None
    text = settings_text(manifest, "a/b", Path("d"))
    assert "evil" not in text
    assert "/home/me" not in text
    assert "cuda" not in text


NASTY = "a\u2028b\x1b[2J\x85solver: {model: evil}\u202e\x00\n# undecided: []\nz"


def test_foreign_texts_neither_end_a_comment_nor_hide(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "name": NASTY,
        "solver": API | {"model": NASTY, "extra_body": {NASTY: NASTY}},
        "evolve": {"strategies": [{"name": NASTY, "template": NASTY + "{prompt}"}]},
    }
    text = text_of(**settings)
    assert HIDDEN.search(text.replace("\n", "")) is None
    found = active(text)
    assert (found["name"], found["undecided"]) == (NASTY, ["solver", "reward"])
    assert "solver" not in found
    assert all(re.match(r" *#", line) for line in text.splitlines() if "extra_body" in line)
    path = tmp_path / "eva.yaml"
    path.write_text(text)
    accept(path)
    assert active(path.read_text())["solver"]["extra_body"] == {NASTY: NASTY}


def test_an_environment_waits_with_what_it_would_do() -> None:
    text = text_of(seeds={"environment": "reasoning_gym/gcd", "size": 3, "config": {"max_numbers": 3}})
    assert "## `seeds.environment` makes prompts on this machine by the package of reasoning_gym/gcd\n" in text
    assert "## `seeds.config` takes the configuration {'max_numbers': 3}\n" in text
