"""A user's own functions: found in a module or a file, also beside eva.yaml, and identified by content."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from eva_data.config.reading import load_config
from eva_data.errors import ConfigError
from eva_data.own_code import FOLDER, identity, load_function, look_beside
from eva_data.sandbox import world

CODE = "NUMBER = 7\ncalls = []\n\ndef double(x):\n    return 2 * x\n"


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an eva.yaml and code."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(FOLDER, "")
    (tmp_path / "doubling.py").write_text(CODE)
    look_beside(tmp_path / "eva.yaml")
    return tmp_path


def test_a_module_beside_eva_yaml_is_found_and_hides_no_library(beside: Path) -> None:
    (beside / "polars.py").write_text("raise AssertionError('not this one')")
    sys.modules.pop("doubling", None)
    assert load_function("doubling:double", "estimate.metric")(4) == 8
    assert sys.path[-1] == str(beside)
    assert load_function("eva_data.sandbox.world:seed_prompts", "reward.function") is world.seed_prompts


def test_a_file_is_found_from_the_folder_of_eva_yaml_and_read_once(beside: Path) -> None:
    (beside / "more").mkdir()
    (beside / "more" / "doubling.py").write_text(CODE.replace("2 * x", "3 * x"))
    assert load_function("doubling.py:double", "estimate.metric")(4) == 8
    assert load_function("more/doubling.py:double", "estimate.metric")(4) == 12
    assert load_function(f"{beside}/doubling.py:double", "evolve.method") is load_function(
        "doubling.py:double", "estimate.metric"
    )


def test_a_function_is_known_by_its_file_and_no_folder_is_told(beside: Path) -> None:
    function = load_function(f"{beside}/doubling.py:double", "estimate.metric")
    name, _, digest = identity(f"{beside}/doubling.py:double", function).partition("@")
    assert name == "doubling.py:double"
    assert len(digest) == 12
    assert identity("doubling:double", function) == f"doubling:double@{digest}"
    assert identity("doubling:double", function, "2") == "doubling:double@2"
    (beside / "other.py").write_text(CODE + "# another\n")
    assert identity("other.py:double", load_function("other.py:double", "x")) != f"other.py:double@{digest}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "no_such_module:f",
            "`x` is `no_such_module:f`, but the module `no_such_module` cannot be found",
        ),
        ("doubling:triple", "`x` is `doubling:triple`, but `doubling` has no function `triple`"),
        ("doubling.py:NUMBER", "`x` is `doubling.py:NUMBER`, but `doubling.py` has no function `NUMBER`"),
        ("nowhere.py:f", "`x` is `nowhere.py:f`, and there is no file"),
        ("doubling:", "a function is named `package.module:function` or `file.py:function`"),
    ],
)
def test_what_is_not_there_is_one_sentence(beside: Path, name: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_function(name, "x")
    assert said in str(error.value)


def test_a_file_that_fails_is_run_again_after_it_was_mended(beside: Path) -> None:
    (beside / "broken.py").write_text("raise ValueError('half written')")
    with pytest.raises(ConfigError, match=r"`broken\.py` cannot be imported: ValueError: half written"):
        load_function("broken.py:double", "estimate.metric")
    (beside / "broken.py").write_text(CODE)
    assert load_function("broken.py:double", "estimate.metric")(1) == 2


def test_reading_eva_yaml_tells_where_code_lies(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = beside / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "eva.yaml").write_text(
        "name: acme/x\nseeds: {sandbox: 4}\nsolver: {model: sandbox}\nreward: {function: f.py:f}\n"
    )
    (elsewhere / "f.py").write_text("def f(prompt, response):\n    return 1\n")
    load_config(elsewhere / "eva.yaml", ["estimate.metric=f.py:f"])
    assert load_function("f.py:f", "reward.function")("", "") == 1
