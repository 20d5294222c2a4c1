"""The page of ablations: every line of settings loads with the paper's recipe, and no arm is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eva_data.config import Config, Mix
from eva_data.config.reading import RECIPES, load_config
from eva_data.errors import ConfigError
from eva_data.training.recipes import algorithm_of, find_recipe

PAGE = (Path(__file__).parents[2] / "docs" / "ablations.md").read_text(encoding="utf-8")
LINES = re.findall(r"`(--set [^`]+)`", PAGE)


def arm(line: str) -> Config:
    return load_config(RECIPES / "paper.yaml", re.findall(r"--set (\S+)", line))


@pytest.mark.parametrize("line", LINES)
def test_a_line_loads_and_changes_what_it_says(line: str) -> None:
    config = arm(line)
    assert algorithm_of(find_recipe(config.train.recipe))
    for key, value in re.findall(r"(\S+)\.(\S+)=", line):
        assert hasattr(getattr(config, key), value)


def test_the_arms_of_tables_4_and_5_are_all_there() -> None:
    rows = re.findall(r"^\| .*? \| (\d\d\.\d) \| `(.*)` \|$", PAGE, re.MULTILINE)
    drawn = {
        (rate, arm(line).estimate.metric, arm(line).sample.method, arm(line).sample.weights, arm(line).mix.source)
        for rate, line in rows
    }
    assert drawn >= {
        ("57.5", "a_min", "uniform", "proportional", "evolved"),
        ("54.8", "var", "weighted", "proportional", "evolved"),
        ("58.5", "avg", "weighted", "minmax", "evolved"),
        ("56.7", "avg", "weighted", "inverted", "evolved"),
        ("52.3", "a_min", "weighted", "inverted", "evolved"),
        ("60.0", "a_avg", "weighted", "proportional", "evolved"),
        ("60.0", "a_dis", "weighted", "proportional", "evolved"),
        ("60.1", "a_min", "weighted", "proportional", "evolved"),
        ("56.1", "a_min", "greedy", "proportional", "sampled"),
        ("55.3", "a_min", "weighted", "proportional", "sampled"),
        ("59.5", "a_min", "greedy", "proportional", "evolved"),
        ("59.8", "a_min", "weighted", "proportional", "new_seeds"),
    }


def test_other_sources_than_evolving_are_the_whole_set_unless_a_share_is_named() -> None:
    shares = {source: Mix.model_validate({"source": source}).evolved for source in ("evolved", "new_seeds", "sampled")}
    assert shares == {"evolved": 0.8, "new_seeds": 1.0, "sampled": 1.0}
    assert Mix.model_validate({"source": "new_seeds", "evolved": 0.8}).evolved == 0.8


def test_too_few_evolutions_and_too_many_drawn_prompts_are_told_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"raise one of the two, `evolve\.evolutions` to 8, or `sample\.fraction`"):
        arm("--set sample.fraction=0.1")
    with pytest.raises(ConfigError, match=r"`sample\.fraction` 0\.5 is above `mix\.evolved` 0\.2: lower"):
        arm("--set mix.source=sampled --set mix.evolved=0.2 --set sample.fraction=0.5")
