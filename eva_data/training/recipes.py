"""By which algorithm and on which iterations a theta is trained, and whether one that is there is the one asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from eva_data.config import Config
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, DataError, StaleError
from eva_data.files import sha256
from eva_data.iteration.thetas import read_training, refuse_damaged
from eva_data.project import train_dir

OFFLINE = ("dpo", "sppo", "simpo", "orpo")
"""What `train/preference.py` knows."""

_SANDBOX = "sandbox"


def find_recipe(name: str) -> Path:
    """The file of a recipe that comes with eva-data, by its name, or of your own, by its path."""
    own = Path(name).expanduser()
    if own.suffix in (".yaml", ".yml"):
        if not own.is_file():
            raise ConfigError(f"`train.recipe` is {name}, but there is no such file")
        return own.resolve()
    recipes = train_dir() / "recipes"
    if not (recipes / f"{name}.yaml").is_file():
        known = ", ".join(sorted(path.stem for path in recipes.glob("*.yaml")))
        raise ConfigError(f"`train.recipe` is `{name}`: known are {known}, or the path of a YAML file of your own")
    return recipes / f"{name}.yaml"


def algorithm_of(recipe: Path) -> str:
    """What the recipe's `algorithm` says. Raises ConfigError where that is none of `OFFLINE`."""
    try:
        values: Any = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the recipe {recipe} is no YAML: {' '.join(str(error).split())}") from None
    algorithm = values.get("algorithm") if isinstance(values, dict) else None
    if algorithm not in OFFLINE:
        found = "names no `algorithm`" if algorithm is None else f"has `algorithm: {algorithm}`"
        raise ConfigError(f"the recipe {recipe} {found}: `eva-data train` knows {', '.join(OFFLINE)}")
    return str(algorithm)


def own_recipe(config: Config) -> str | None:
    """The hash of a recipe of your own; None for one of eva-data's, which goes by the version of eva-data."""
    recipe = find_recipe(config.train.recipe)
    return None if recipe.parent == train_dir() / "recipes" else sha256(recipe)


def with_algorithm(config: Config, algorithm: str) -> Config:
    """The same settings with a recipe of this algorithm: the configured one if it is of it, else the ready one."""
    if algorithm not in OFFLINE:
        raise ConfigError(f"`--algorithm` is `{algorithm}`: known are {', '.join(OFFLINE)}")
    configured = config.train.recipe
    if algorithm_of(find_recipe(configured)) == algorithm:
        return config
    if not configured.startswith(_SANDBOX):
        recipe = algorithm
    else:
        recipe = _SANDBOX if algorithm == "dpo" else f"{_SANDBOX}_{algorithm}"
    return config.model_copy(update={"train": config.train.model_copy(update={"recipe": recipe})})


def split_of(config: Config, store: Store, iteration: int) -> str:
    """The iterations that theta_t is trained on, as `load_dataset` names them, those without a pair left out.

    Raises StaleError where one is not built, DataError where its pairs are not those that were built, or where there is
    no pair in the last or only one.
    """
    first = 1 if config.train.mode == "scratch" else iteration
    pairs = {number: _pairs(store, number) for number in range(first, iteration + 1)}
    if pairs[iteration] == 0:
        raise DataError(
            f"iteration {iteration} has 0 pairs, so there is nothing to train on; `rejects` says why: more "
            "`solver.responses` or a higher `solver.temperature` make responses differ"
        )
    return "+".join(f"iter_{number}" for number, count in pairs.items() if count)


def _pairs(store: Store, iteration: int) -> int:
    if iteration not in store.iterations():
        raise StaleError(f"iteration {iteration} has no pairs yet: build it with `eva-data build --iter {iteration}`")
    store.refuse_changed(iteration, ["preferences"])
    files = store.manifest(iteration).files
    return sum(entry.rows for name, entry in files.items() if name.startswith("preferences/"))


def refuse_another(config: Config, store: Store, iteration: int) -> None:
    """A theta is never trained again, so one that was trained otherwise than is asked for now is a StaleError."""
    solver = store.solver_folder(iteration)
    refuse_damaged(store, iteration)
    record = read_training(store, iteration)
    # Before there was a choice it was not recorded.
    trained = (record.get("algorithm", "dpo"), record.get("split"))
    recipe = own_recipe(config)
    if None not in (recipe, record.get("recipe_sha256")) and record["recipe_sha256"] != recipe:
        raise StaleError(
            f"theta_{iteration} is there, and `train.recipe` holds other content than it was trained by: set it "
            f"back, set another `folder`, or delete {solver} if no iteration was built with it"
        )
    asked = (algorithm_of(find_recipe(config.train.recipe)), split_of(config, store, iteration))
    if trained != asked:
        raise StaleError(
            f"theta_{iteration} is there, trained by {trained[0]} on {trained[1]} and not by {asked[0]} on {asked[1]}, "
            "and a finished solver is never trained again, since the next iteration may hold its answers: set another "
            f"`folder`, or delete {solver} if no iteration was built with it"
        )
