"""What a command reports: text for people, one JSON object with `--json`, or nothing with `--quiet`."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eva_data.cli.say import say

if TYPE_CHECKING:
    from eva_data.calls import StageProgress

F = TypeVar("F", bound=Callable[..., Any])

_MODE = "eva_data.output"


def reports(*keys: str) -> Callable[[F], F]:
    """Add `--json` and `--quiet` to a command, whose JSON object has exactly these keys (docs/scripts.md)."""

    def add(command: F) -> F:
        for name, says in (
            ("quiet", "Print nothing but errors; the exit code says how it went."),
            ("json", "Print one JSON object instead of text (docs/scripts.md); errors stay sentences."),
        ):
            command = click.option(f"--{name}", name, is_flag=True, expose_value=False, callback=_remember, help=says)(
                command
            )
        command.json_keys = keys  # type: ignore[attr-defined]
        return command

    return add


def _remember(context: click.Context, parameter: click.Parameter, given: bool) -> None:
    if not given:
        return
    if context.meta.get(_MODE, parameter.name) != parameter.name:
        raise click.UsageError("--json and --quiet exclude each other: give one of them")
    context.meta[_MODE] = parameter.name


def mode() -> str | None:
    """`json` or `quiet`; None where the command prints text."""
    context = click.get_current_context(silent=True)
    given: str | None = None if context is None else context.meta.get(_MODE)
    return given


def report(text: Callable[[], object] | str, found: Callable[[], Mapping[str, Any]] = dict, /, **values: Any) -> None:
    """Report the result of a command: call or print `text`, or print `values` as JSON, or do nothing.

    `found` gives further values, which are computed only for JSON.
    Keys that the command declared and `values` lacks are null.
    """
    if mode() == "quiet":
        return
    if mode() is None:
        if callable(text):
            text()
        else:
            say(text)
        return
    declared = click.get_current_context().command.callback.json_keys  # type: ignore[union-attr]
    values |= found()
    if unknown := values.keys() - set(declared):
        raise ValueError(f"the command does not declare the keys {sorted(unknown)}")
    # ASCII, so that no text of others can control the terminal.
    say(json.dumps({key: plain(values.get(key)) for key in declared}, ensure_ascii=True, allow_nan=False))


def plain(value: Any) -> Any:
    """Plain values of records, frames and paths. A number that JSON does not have is null."""
    import polars as pl
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, pl.DataFrame):
        return plain(value.to_dicts())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)


class Silent:
    """The reporter of a run with `--quiet`."""

    def foresee(self, stages: Sequence[tuple[str, int]]) -> None:
        pass

    def stage(self, name: str, iteration: int) -> StageProgress:
        return lambda done, total, used=None, /: None

    def waiting(self, name: str) -> Callable[[float, str], None]:
        return lambda seconds, heard: None

    def note(self, text: str) -> None:
        pass
