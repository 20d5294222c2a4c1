"""Options that several commands share, and the config and run that a command starts from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eva_data.cli.output import Silent, mode
from eva_data.cli.say import say

if TYPE_CHECKING:
    from eva_data.config import Config
    from eva_data.iteration.run import Reporter, Run

F = TypeVar("F", bound=Callable[..., Any])


def config_options(command: F) -> F:
    """Add --config and --set to a command that reads the settings."""
    for option in (
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Set a key of eva.yaml for this run, such as --set sample.fraction=0.5. May be repeated.",
        ),
        click.option(
            "--config",
            "config_path",
            type=click.Path(path_type=Path),
            help="The settings. Default: eva.yaml in this folder, or else the sandbox's.",
        ),
    ):
        command = option(command)
    return command


iteration_option = click.option(
    "--iter", "iteration", type=click.IntRange(min=1), required=True, help="Iteration, from 1."
)
solver_option = click.option(
    "--solver",
    metavar="MODEL[@REVISION]",
    help="Who answers, instead of the trained or configured model: a folder, a Hub id, or what a server serves.",
)

repo_option = click.option(
    "--repo", metavar="OWNER/NAME", help="The dataset repo on the Hub. Default: `publish.repo` in eva.yaml."
)
visibility_option = click.option(
    "--private/--public",
    default=None,
    help="Who may see a repo that is created. Default: `publish.private` in eva.yaml, or else private.",
)

findings_option = click.option(
    "--accept-findings",
    is_flag=True,
    help="Publish although addresses, numbers, keys or unsafe prompts were found in texts.",
)


def _finite(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise click.BadParameter("a number of dollars is expected, such as 20.", context, parameter)
    return value


budget_option = click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    callback=_finite,
    metavar="DOLLARS",
    help="The most that this dataset's ledger may hold in all; stops before the call that could exceed it.",
)


def read_config(config_path: Path | None, overrides: tuple[str, ...], *, online: bool = False) -> Config:
    from eva_data.config.reading import load_config

    default = Path("eva.yaml")
    if config_path is None and default.exists():
        config_path = default
    if config_path is None:
        _refuse_half_pulled()
        if mode() != "quiet":
            say("No eva.yaml here: using the sandbox, a small built-in world with a model of its own.", err=True)
    return load_config(config_path, overrides, online=online)


def look_at(config_path: Path | None, overrides: tuple[str, ...]) -> Run:
    """The run for a command that only looks. It works for a pulled dataset before its settings are decided too.

    Then it has the recorded settings, without those that change nothing that is built, and uses nothing that they name.
    """
    from eva_data.config.reading import undecided_folder
    from eva_data.dataset.store import Store
    from eva_data.hub.consent import recorded_settings

    folder = undecided_folder(config_path or Path("eva.yaml"))
    store = Store(folder) if folder is not None else None
    if store is None or not store.iterations():
        return start(read_config(config_path, overrides))
    recorded = recorded_settings(store.manifest(store.iterations()[-1]))
    return replace(start(recorded.model_copy(update={"folder": store.folder})), undecided=True)


def _refuse_half_pulled() -> None:
    """Raise StaleError if a pull below this folder is not finished, since its user does not mean the sandbox."""
    from eva_data.dataset.store import Store

    for pattern in ("*/.eva/pull", "data/*/.eva/pull"):
        for found in sorted(Path().glob(pattern)):
            Store(found.parents[1]).refuse_half_pulled()


def start(config: Config, solver: str | None = None, budget: float | None = None) -> Run:
    from eva_data.dataset.boundary import refuse_links_out
    from eva_data.iteration.run import Run

    # Commands that only look would follow a link too.
    refuse_links_out(config.folder)
    return Run(config, reporter(), solver, budget)


def reporter() -> Reporter:
    """Who is told of the progress."""
    from eva_data.cli.text.progress import ConsoleReporter

    return Silent() if mode() == "quiet" else ConsoleReporter()
