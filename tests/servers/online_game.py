"""Small online runs for tests: the inputs of the script and its arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from scripts import RECIPES

from eva_data.cli.text.progress import ConsoleReporter
from eva_data.config.reading import CARELESS_CONFIG, load_config, parse_config
from eva_data.game.online import prepare
from eva_data.iteration.players import solver_of
from eva_data.iteration.run import Run


def make_run(folder: Path, model: str = "sandbox", *, seeds: int | dict[str, Any] = 24, **more: Any) -> Run:
    """A sandbox run with this model, so many seeds or this block of seeds, and further blocks of the settings."""
    block = {"sandbox": seeds} if isinstance(seeds, int) else seeds
    values = load_config(CARELESS_CONFIG).model_dump(mode="json") | {"folder": str(folder), "seeds": block}
    values["solver"]["model"] = model
    values["train"] |= {"heldout": 0}
    return Run(parse_config(values | more, "the test"), ConsoleReporter())


def recipe(folder: Path, name: str, **changes: Any) -> Path:
    """Write a recipe with changed keys to `folder`."""
    values = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8")) | changes
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def arguments(job: Path, run: Run, recipe: Path, *more: str) -> list[str]:
    """Write the inputs of the script to `job`, and return its arguments."""
    start = solver_of(run, 1)
    prepare(run, start, job, {})
    return [
        *("--config", str(recipe), "--game", str(job / "game.json"), "--dataset", str(job / "seeds")),
        *("--split", "iter_1", "--model_name_or_path", str(start.path), "--output_dir", str(job / "output")),
        *("--use_cpu", "true", "--seed", "42", *more),
    ]


def by_letters(prompt: str, response: str) -> float:
    """A reward between 0 and 1 that differs from text to text."""
    return sum(response.encode()) % 97 / 96


def by_letters_of_some(prompt: str, response: str) -> float:
    """The same for one prompt in three; every response to another prompt gets 0."""
    return by_letters(prompt, response) if len(prompt) % 3 == 0 else 0.0
