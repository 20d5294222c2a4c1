"""Finds the algorithm and the iterations of a theta's training, and checks an existing theta against them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from eva_data.config import Config
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, DataError, MissingExtraError, StaleError
from eva_data.files import sha256
from eva_data.iteration.thetas import read_training, refuse_damaged
from eva_data.project import train_dir

OFFLINE = ("dpo", "sppo", "simpo", "orpo", "ipo", "cpo", "kto", "sft")
"""The algorithms of `train/preference.py`."""

REFERENCED = ("dpo", "sppo", "ipo", "kto")
"""The algorithms whose loss has a reference model."""

_SANDBOX = "sandbox"


def find_recipe(name: str) -> Path:
    """The file of a recipe: by its name if it comes with eva-data, else by its path."""
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


def value_in(recipe: Path, key: str) -> Any:
    """The value of a key in a recipe; None if it has none. Raise ConfigError if the recipe cannot be read."""
    try:
        values: Any = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"the recipe {recipe} is no YAML: {' '.join(str(error).split())}") from None
    return values.get(key) if isinstance(values, dict) else None


def generated_by(recipe: Path) -> tuple[str, str | None]:
    """Who samples the responses of a recipe, and the URL of its vLLM server; None for the other ways."""
    if not value_in(recipe, "use_vllm"):
        return "transformers", None
    mode = value_in(recipe, "vllm_mode") or "colocate"
    if mode not in ("colocate", "server"):
        raise ConfigError(f"`vllm_mode` is `{mode}` in the recipe {recipe.stem}: known are colocate and server")
    if mode == "colocate":
        return "vllm colocate", None
    host, port = value_in(recipe, "vllm_server_host") or "0.0.0.0", value_in(recipe, "vllm_server_port") or 8000
    return "vllm server", str(value_in(recipe, "vllm_server_base_url") or f"http://{host}:{port}").rstrip("/")


def refuse_missing_packages(recipe: Path) -> None:
    """Raise MissingExtraError or ConfigError if a package is missing that the training of this recipe needs."""
    for package in ("trl", "accelerate", "peft"):
        if find_spec(package) is None:
            raise MissingExtraError.of(package, "train")
    if value_in(recipe, "use_vllm") and find_spec("vllm") is None:
        raise ConfigError(
            f"the recipe {recipe.stem} has `use_vllm: true`, but the package `vllm`, which would sample the responses, "
            "is not installed: install it with `pip install 'trl[vllm]'` on a machine with a GPU, or leave `use_vllm` "
            "out"
        )


def algorithm_of(recipe: Path) -> str:
    """The `algorithm` in a recipe. Raise ConfigError if it is not in `OFFLINE`."""
    algorithm = value_in(recipe, "algorithm")
    if algorithm not in OFFLINE:
        found = "names no `algorithm`" if algorithm is None else f"has `algorithm: {algorithm}`"
        raise ConfigError(f"the recipe {recipe} {found}: `eva-data train` knows {', '.join(OFFLINE)}")
    return str(algorithm)


def own_recipe(config: Config) -> str | None:
    """The hash of the user's own recipe; None for a recipe of eva-data, which the version of eva-data identifies."""
    recipe = find_recipe(config.train.recipe)
    return None if recipe.parent == train_dir() / "recipes" else sha256(recipe)


def with_algorithm(config: Config, algorithm: str) -> Config:
    """The settings with a recipe for this algorithm: the configured recipe if it fits, else eva-data's."""
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
    """The iterations that theta_t is trained on, in the notation of `load_dataset`, if they have pairs.

    Raise StaleError if an iteration is not built, and DataError if its pairs were changed after the build or if
    iteration t has no pair.
    """
    first = 1 if config.train.mode == "scratch" else iteration
    pairs = {number: _pairs(store, number) for number in range(first, iteration + 1)}
    if pairs[iteration] == 0:
        raise DataError(
            f"iteration {iteration} has 0 pairs, so there is nothing to train on; `rejects` says why: more "
            "`solver.responses` or a higher `solver.temperature` make responses differ"
        )
    return "+".join(f"iter_{number}" for number, count in pairs.items() if count)


def replay_split_of(config: Config, store: Store, iteration: int) -> str:
    """The earlier iterations of which theta_t replays pairs, in the notation of `load_dataset`; empty if none.

    Raise StaleError if an iteration is not built, and DataError if its pairs were changed after the build.
    """
    if not config.train.replay:
        return ""
    pairs = {number: _pairs(store, number) for number in range(1, iteration)}
    return "+".join(f"iter_{number}" for number, count in pairs.items() if count)


def other_reference(config: Config, iteration: int) -> bool:
    """Whether theta_t is trained with another reference model than the model that it is trained from.

    Raise ConfigError if the loss of the recipe has no reference model.
    """
    train = config.train
    if train.reference == "previous":
        return False
    algorithm = algorithm_of(find_recipe(train.recipe))
    if algorithm not in REFERENCED:
        raise ConfigError(
            f"`train.reference` is {train.reference}, but the loss of {algorithm} has no reference model: set it to "
            f"previous, or take a recipe of {' or '.join(REFERENCED)}"
        )
    return train.mode == "incremental" and iteration > config.first_answered


def _pairs(store: Store, iteration: int) -> int:
    if iteration not in store.iterations():
        raise StaleError(f"iteration {iteration} has no pairs yet: build it with `eva-data build --iter {iteration}`")
    store.refuse_changed(iteration, ["preferences"])
    files = store.manifest(iteration).files
    return sum(entry.rows for name, entry in files.items() if name.startswith("preferences/"))


def refuse_another(config: Config, store: Store, iteration: int) -> None:
    """Raise StaleError if theta_t exists but was trained by another algorithm, split, replay or reference model.

    A finished theta is never trained again.
    """
    solver = store.solver_folder(iteration)
    refuse_damaged(store, iteration)
    record = read_training(store, iteration)
    # The algorithm was not recorded before there was a choice.
    replay = (record.get("replay") or {}).get("share", 0.0)
    trained = _told(record.get("algorithm", "dpo"), record.get("split"), replay, "reference" in record)
    recipe = own_recipe(config)
    if None not in (recipe, record.get("recipe_sha256")) and record["recipe_sha256"] != recipe:
        raise StaleError(
            f"theta_{iteration} is there, and `train.recipe` holds other content than it was trained by: set it "
            f"back, set another `folder`, or delete {solver} if no iteration was built with it"
        )
    asked = _told(
        algorithm_of(find_recipe(config.train.recipe)),
        split_of(config, store, iteration),
        config.train.replay if replay_split_of(config, store, iteration) else 0.0,
        other_reference(config, iteration),
    )
    if trained != asked:
        raise StaleError(
            f"theta_{iteration} is there, trained by {trained} and not by {asked}, "
            "and a finished solver is never trained again, since the next iteration may hold its answers: set another "
            f"`folder`, or delete {solver} if no iteration was built with it"
        )


def _told(algorithm: str, split: str | None, replay: float, initial: bool) -> str:
    """How a theta is trained, in words."""
    more = f" with {replay:g} of the earlier pairs" if replay else ""
    return f"{algorithm} on {split}{more}" + (" against theta_0" if initial else "")
