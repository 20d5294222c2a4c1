"""Writes the eva.yaml of a pulled dataset: keys that only set values are active, and all other keys wait for the user.

A manifest is data of its publisher and never the consent of the user who pulls it. The marks of the settings decide. A
key that names code, a path, an address or a model, or that goes out with an API key, is written commented out, with
what it would do. It is listed under `undecided`, so that no command starts before the user has looked at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from eva_data.config import Config, Execution
from eva_data.config.base import Settings
from eva_data.config.consequences import consequence
from eva_data.config.marks import mark_of, named
from eva_data.config.reading import parse_config
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.staleness import UNKNOWN_PATH, config_of
from eva_data.foreign import HIDDEN, visible

_COMMENT, _PROSE = "# ", "## "
"""The beginnings of a waiting key and of a comment on it. Whoever removes `# ` before a key makes it active."""

_HEAD = """\
## The settings of iteration {iteration} of {repo}, out of its manifest, which its publisher wrote.
## What only sets values is active. What names code, files, addresses or models, or goes out with a key, waits
## commented out, with what it would do. Uncomment what you want (take `# ` away), write your own, or take its name out
## of `undecided`: before that nothing is built. Paths of files are not known here: `{unknown}` and `./` stand for them.
"""


@dataclass(frozen=True)
class Part:
    """A key of a pulled dataset's settings, as it goes into eva.yaml."""

    key: str
    active: Any
    """The active value; None if no part of it is active."""
    waiting: dict[str, Any]
    """Path of a key -> the value that is commented out."""
    told: tuple[str, ...]
    """Sentences on what the waiting keys would do."""


def recorded_settings(manifest: Manifest) -> Config:
    """The settings in a pulled manifest that change what is built; all others are dropped."""
    return parse_config(_written(config_of(manifest)), f"the manifest of iteration {manifest.iteration}")


def parts_of(config: Config) -> list[Part]:
    """The settings of a pulled dataset, key by key."""
    return [part for key in Config.model_fields if (part := _part(config, key)) is not None]


def _part(config: Config, key: str) -> Part | None:
    field, value = Config.model_fields[key], getattr(config, key)
    if (field.json_schema_extra or {}) == Execution or value is None:
        return None
    found = [one for one in named(config) if one.key == key or one.key.startswith(f"{key}.")]
    told = tuple(map(consequence, found))
    written = _written(value)
    is_model = mark_of(Config, key) == "model" and isinstance(value, Settings)
    if not (found or is_model):
        return Part(key, written, {}, ())
    if not isinstance(field.default, Settings):
        # A block for a model, a source or a reward makes no sense without the name in it.
        return Part(key, None, {key: written}, told)
    apart = {one.key.split(".")[1] for one in found}
    active = {name: inner for name, inner in written.items() if name not in apart}
    return Part(key, active, {f"{key}.{name}": written[name] for name in written if name in apart}, told)


def _written(value: Any) -> Any:
    """The fields that change what is built, and paths of unknown files, as plain values."""
    if isinstance(value, Settings):
        return {
            name: _written(inner)
            for name, field in type(value).model_fields.items()
            if (inner := getattr(value, name)) == Path(UNKNOWN_PATH) or (field.json_schema_extra or {}) != Execution
        }
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def settings_text(manifest: Manifest, repo: str, folder: Path) -> str:
    """An eva.yaml by which the user goes on from a pulled dataset, once the commented keys are decided."""
    parts = parts_of(recorded_settings(manifest))
    waiting = [key for part in parts for key in part.waiting]
    head = _HEAD.format(iteration=manifest.iteration, repo=repo, unknown=UNKNOWN_PATH)
    decide = _yaml({"undecided": waiting}) if waiting else ""
    return head + decide + "".join(line + "\n" for part in parts for line in _lines(part, folder))


def _lines(part: Part, folder: Path) -> Iterator[str]:
    if part.active is not None:
        yield from _yaml({part.key: part.active}).splitlines()
    if part.key == "name":
        yield from _yaml({"folder": str(folder)}).splitlines()
    inner = "" if part.active is None else "  "
    yield from (f"{inner}{_PROSE}{visible(line)}" for line in part.told)
    for key, value in part.waiting.items():
        text = _yaml({key.rpartition(".")[2]: value})
        yield from (f"{inner}{_COMMENT}{line}" for line in text.splitlines())


def _yaml(values: dict[str, Any]) -> str:
    """YAML of plain values; all of it in ASCII if a character in it could end a comment or hide a part of it."""
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10**6)
    if HIDDEN.search(text.replace("\n", "")):
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=False, width=10**6)
    return text
