"""The eva.yaml of a pulled dataset: what only sets values is active, everything else waits for the user.

A manifest is data of its publisher, never consent of who pulls it. By the marks of the settings, a key that names
code, a path, an address, a model or what goes out with a key is written commented out, with what it would do, and is
listed under `undecided`, so that nothing begins before the user has looked at it.
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
"""What a key that waits begins with, and what is said about it: taking `# ` away before a key makes it active."""

_HEAD = """\
## The settings of iteration {iteration} of {repo}, out of its manifest, which its publisher wrote.
## What only sets values is active. What names code, files, addresses or models, or goes out with a key, waits
## commented out, with what it would do. Uncomment what you want (take `# ` away), write your own, or take its name out
## of `undecided`: before that nothing is built. Paths of files are not known here: `{unknown}` and `./` stand for them.
"""


@dataclass(frozen=True)
class Part:
    """A key of the settings of a pulled dataset, as it goes into eva.yaml."""

    key: str
    active: Any
    """What is set; None where nothing of it is."""
    waiting: dict[str, Any]
    """Key path -> what is commented out of it."""
    told: tuple[str, ...]
    """What that would do."""


def recorded_settings(manifest: Manifest) -> Config:
    """The settings of a pulled dataset that count for what is built: what a manifest says beyond them is dropped."""
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
        # A block that names a model, a source or a reward makes no sense without its name.
        return Part(key, None, {key: written}, told)
    apart = {one.key.split(".")[1] for one in found}
    active = {name: inner for name, inner in written.items() if name not in apart}
    return Part(key, active, {f"{key}.{name}": written[name] for name in written if name in apart}, told)


def _written(value: Any) -> Any:
    """Plain values of what counts for what is built, and the paths that are not known."""
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
    """An eva.yaml that goes on from what was pulled, once the user has decided what is commented out in it."""
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
    """YAML of plain values; all of it in ASCII where a text holds what could end a comment or hide a part of it."""
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10**6)
    if HIDDEN.search(text.replace("\n", "")):
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=False, width=10**6)
    return text
