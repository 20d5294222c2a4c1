"""Reads `eva.yaml` and `--set key=value`, and says in one sentence what is wrong with them."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from eva_data.config import Config
from eva_data.config.introduced import RECORDED
from eva_data.config.whole import ONLINE, is_set
from eva_data.errors import ConfigError
from eva_data.files import write_text
from eva_data.own_code import look_beside

TEMPLATE = Path(__file__).parent / "template.yaml"
RECIPES = Path(__file__).parent.parent / "recipes"
"""Ready settings, one file each."""
SANDBOX_CONFIG = Path(__file__).parent.parent / "sandbox" / "eva.yaml"
CARELESS_CONFIG = RECIPES / "careless.yaml"

_KINDS: Mapping[type, str] = {list: "a list", str: "a text"}


def load_config(path: Path | None = None, overrides: Sequence[str] = (), *, online: bool = False) -> Config:
    """Read the config in `path`, or the sandbox's own if `path` is None, and apply `overrides` (`sample.fraction=0.5`).

    From then on, the user's own functions are looked for beside that file too. `online` says that the settings are for
    online training. Raise ConfigError, which names the key and the nearest valid key, if a setting is wrong.
    """
    source = path or _sandbox(overrides, online)
    try:
        text = source.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no config file {source}: write one with `eva-data init`, or leave `--config` out "
            "to use eva.yaml in this folder, or else the sandbox"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{source} is not UTF-8 text ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from None
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from None
    if values is None:
        raise ConfigError(
            f"{source} is empty, expected keys and values such as `name: my-dataset`: write one with `eva-data init "
            "--force`, or delete it to use the sandbox"
        )
    if not isinstance(values, dict):
        held = _KINDS.get(type(values), "one value")
        raise ConfigError(f"{source} holds {held}, expected keys and values such as `name: my-dataset`")
    if path is None and online:
        # The sandbox's own file is for iterations. Online, the recipe says how many prompts are rewritten.
        values = values | {"sample": {}, "evolve": {k: v for k, v in values["evolve"].items() if k != "evolutions"}}
    for override in overrides:
        _set(values, override)
    if path is not None:
        look_beside(path)
    # The sandbox's own file is right, so that a fault is in the overrides.
    return parse_config(values, "the changed settings of the sandbox" if path is None else str(source), online=online)


def _sandbox(overrides: Sequence[str], online: bool) -> Path:
    """The sandbox's settings: those of the world `careless` if the folder was begun in it, the first world."""
    named = dict(text.partition("=")[::2] for text in overrides)
    folder = Path(named.get("folder") or Path("data", named.get("name", "eva-sandbox")))
    # An online run is in a folder beside it, which is named after the algorithm.
    for begun in sorted(folder.parent.glob(f"{folder.name}-*")) if online else [folder]:
        try:
            recorded = json.loads((begun / "manifests" / "iter_1.json").read_bytes())["config"]["seeds"]
            world = recorded.get("world", "careless") if recorded["sandbox"] else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            # There is no manifest, or one that the store refuses with a better sentence.
            continue
        return CARELESS_CONFIG if world == "careless" else SANDBOX_CONFIG
    return SANDBOX_CONFIG


def undecided_folder(path: Path) -> Path | None:
    """The dataset's folder in an eva.yaml of `pull` that has undecided keys; None for any other file."""
    try:
        load_config(path)
    except ConfigError:
        if not path.is_file():
            return None
        try:
            values = yaml.safe_load(path.read_bytes())
        except yaml.YAMLError:
            return None
        if not isinstance(values, dict) or not isinstance(values.get("folder"), str):
            return None
        listed = values.get("undecided")
        if isinstance(listed, list) and not all(is_set(values, str(key)) for key in listed):
            return Path(values["folder"])
    return None


def parse_config(values: Mapping[str, Any], source: str, *, recorded: bool = False, online: bool = False) -> Config:
    """Make a validated Config from plain values. `source` is their name in errors.

    `recorded` says that the values stand in a manifest: a key that they lack has the meaning from before it existed.
    `online` says that they are for online training. Raise ConfigError if a value is wrong.
    """
    try:
        return Config.model_validate(values, context={RECORDED: recorded, ONLINE: online})
    except ValidationError as error:
        raise ConfigError(f"{source}: {'; '.join(_sentences(error.errors(), values))}") from None


def dump_config(config: Config) -> dict[str, Any]:
    """The resolved config as plain values, which `parse_config` reads back."""
    return config.model_dump(mode="json")


_QUOTES = ("'", '"', "!", "&", "*", "|", ">")
"""With these a YAML value begins that is another text than its characters."""


def _set(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"`--set {override}` has no value: write it as `--set sample.fraction=0.5`")
    *parents, last = key.split(".")
    block = values
    for parent in parents:
        inner = block.get(parent)
        if inner is None:
            inner = block[parent] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"`--set {override}`: `{parent}` is `{inner}`, which holds no keys")
        block = inner
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"`--set {override}`: the value is not valid YAML; quote it") from None
    bare = text.strip()
    # A line of a shell has no comments: the folder `run #2` is called so.
    if bare[:1] == "#" or (isinstance(value, str) and bare[:1] not in _QUOTES and "\n" not in bare):
        value = bare
    block[last] = value


def _sentences(problems: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> list[str]:
    """What is wrong, in one sentence per key. A key that fits no variant of a union is named once."""
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    for problem in problems:
        by_key.setdefault(".".join(_path(problem, values)), []).append(problem)
    # Where a block or a word may stand, a wrong block fails as a word too. That failure says nothing new.
    blocks = {key for key in by_key if any(other.startswith(f"{key}.") for other in by_key)}
    return [_sentence(key, found) for key, found in by_key.items() if key not in blocks or not _follows(found)]


def _follows(problems: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the problems of a key follow from those of the keys in it: a list whose items are wrong is too short."""
    return all(problem["type"] in ("literal_error", "too_short") for problem in problems)


def _path(problem: Mapping[str, Any], values: Any) -> list[str]:
    """The keys as the user wrote them, without the names of variants that pydantic puts between them."""
    path: list[str] = []
    loc = problem["loc"]
    for place, part in enumerate(loc):
        in_list = isinstance(values, list | tuple) and isinstance(part, int)
        if in_list or (isinstance(values, Mapping) and part in values):
            # A list that is too short lacks the item that the problem names.
            values = values[part] if not in_list or part < len(values) else None
        elif place < len(loc) - 1 or problem["type"] != "missing":
            continue
        path.append(str(part))
    return path


def _sentence(key: str, problems: Sequence[Mapping[str, Any]]) -> str:
    problem = problems[0]
    kind = problem["type"]
    if kind == "extra_forbidden":
        name = key.rpartition(".")[2]
        if others := _variants_with(problem["loc"]):
            return f"`{key}` does not go with {others[0]}, but with {' or '.join(others[1:])}"
        near = difflib.get_close_matches(name, _keys_beside(problem["loc"]), n=1, cutoff=0.5)
        if near:
            return f"unknown key `{key}`; did you mean `{key.removesuffix(name)}{near[0]}`?"
        return f"unknown key `{key}`; known here are {', '.join(_keys_beside(problem['loc']))}"
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    if kind == "missing" and key.rpartition(".")[2].isdigit():
        listed, _, place = key.rpartition(".")
        return f"`{listed}` is a list that is too short: item {int(place) + 1} is missing"
    if kind == "missing":
        return f"the key `{key}` is missing"
    if kind == "union_tag_not_found":
        return f"the key `{key}.{_discriminator(problem)}` is missing"
    if kind == "union_tag_invalid":
        context = problem["ctx"]
        return f"`{key}.{_discriminator(problem)}` is `{context['tag']}`: expected one of {context['expected_tags']}"
    if kind in ("too_short", "too_long") and isinstance(problem["input"], list | tuple):
        bound = "at least" if kind == "too_short" else "at most"
        most = problem["ctx"]["min_length" if kind == "too_short" else "max_length"]
        return (
            f"`{key}` is `{problem['input']}`: expected a list of {bound} {most}, and it holds {len(problem['input'])}"
        )
    expected = [
        _LISTS.get(found["type"], found["msg"]) for found in problems if found["type"] != "model_attributes_type"
    ]
    message = " or ".join(message[0].lower() + message[1:] for message in expected or [problem["msg"]])
    block = " or a block of keys" if len(expected) < len(problems) and expected else ""
    return f"`{key}` is `{problem['input']}`: {message}{block}"


_LISTS: Mapping[str, str] = dict.fromkeys(
    ("tuple_type", "list_type"), "expected a list, in brackets or as lines that begin with `-`"
)
"""What pydantic calls a tuple is a list in YAML."""


def _discriminator(problem: Mapping[str, Any]) -> str:
    """The key that says which variant of a tagged union a block is; pydantic quotes it."""
    return str(problem["ctx"]["discriminator"]).strip("'")


def _keys_beside(loc: Sequence[Any]) -> list[str]:
    """The valid keys of the block in which the last part of `loc` was found; `solver.contrast` means `contrast`."""
    found = {key for model in _blocks_at(loc)[0] for key in model.model_fields}
    return sorted(found | {"contrast"} if loc[0] == "solver" else found)


def _variants_with(loc: Sequence[Any]) -> list[str]:
    """Tags as `key: tag`: of the block in which a key was found that it does not have, then of those that have it.

    Empty if no other variant of the block has the key.
    """
    here, variants = _blocks_at(loc)
    others = [_tags(model) for model in variants if loc[-1] in model.model_fields]
    if len(here) != 1 or not others or not all(map(len, [_tags(here[0]), *others])):
        return []
    return [next(f"`{key}: {tag}`" for key, tag in tags.items()) for tags in (_tags(here[0]), *others)]


def _blocks_at(loc: Sequence[Any]) -> tuple[list[type[BaseModel]], list[type[BaseModel]]]:
    """The possible blocks in which the last part of `loc` was found, and the variants of the last union there."""
    block: Any = Config
    variants: list[type[BaseModel]] = []
    for part in loc[:-1]:
        models = _models_of(block)
        if isinstance(part, int):
            continue
        named = [model for model in models if part in model.model_fields]
        if named:
            block, variants = named[0].model_fields[part].annotation, []
        else:
            tagged = [m for m in models if part in (m.__name__, *_tags(m).values())]
            block, variants = (tagged[0], models) if tagged else (block, variants)
    return _models_of(block), variants


def _tags(model: type[BaseModel]) -> dict[str, str]:
    """The keys of a block that can hold one text alone, with that text: the block's tag in its union."""
    choices = {key: get_args(field.annotation) for key, field in model.model_fields.items()}
    return {key: found[0] for key, found in choices.items() if len(found) == 1 and isinstance(found[0], str)}


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models_of(argument)]


def write_template(path: Path, recipe: str | None = None, *, force: bool) -> None:
    """Write a commented `eva.yaml`: the template or a recipe. Raise ConfigError if there is a file, unless `force`."""
    source = TEMPLATE if recipe is None else RECIPES / f"{recipe}.yaml"
    if not source.is_file():
        names = ", ".join(sorted(file.stem for file in RECIPES.glob("*.yaml")))
        raise ConfigError(f"there is no recipe `{recipe}`: the ready ones are {names}")
    if path.exists() and not force:
        raise ConfigError(f"{path} is there already: edit it, or overwrite it with `eva-data init --force`")
    write_text(path, source.read_text(encoding="utf-8"))
