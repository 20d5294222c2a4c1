"""Commands that show and check what exists."""

from __future__ import annotations

from pathlib import Path

import click

from eva_data.cli.options import config_options, iteration_option, look_at
from eva_data.cli.say import say, sentence


@click.command()
@config_options
def status(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Say what exists, what is missing, and what is stale because the settings changed."""
    from eva_data.cli.text.build import print_status

    print_status(look_at(config_path, overrides))


@click.command()
@click.argument("repo", metavar="[OWNER/NAME]", required=False)
@iteration_option
@click.option("--revision", help="Of the repo: a tag, branch or commit. Default: the iteration's tag.")
@click.option(
    "--rescore",
    "count",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="N",
    help="Score N random responses again with the reward of the settings, and compare.",
)
@config_options
def verify(
    repo: str | None,
    iteration: int,
    revision: str | None,
    count: int,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Recompute everything that follows from an iteration's tables, and compare.

    \b
    eva-data verify --iter 2
    eva-data verify my-org/my-curriculum --iter 2
    eva-data verify --iter 2 --rescore 100

    This checks files, metrics, draw, mix, pairs, the manifest, and the chain back to iteration 1. It lists all errors,
    and then everything that could not be checked.
    """
    from eva_data.hub.verify import verify_iteration, verify_published

    # Settings are not needed for a published dataset.
    run = look_at(config_path, overrides) if repo is None or count else None
    if repo is not None:
        found, where = verify_published(repo, iteration, revision, run=run, rescore=count), repo
    else:
        assert run is not None
        found, where = verify_iteration(run.store, iteration, run, rescore=count), str(run.store.folder)
    for problem in found.problems:
        say(sentence(problem))
    unknown = f"Not checked: {'; '.join(found.unknown)}."
    if found.problems:
        say(unknown)
        raise click.exceptions.Exit(1)
    say(f"Iteration {iteration} in {where} is what its tables and manifest say. {unknown}")


@click.command()
@iteration_option
@click.option("--rows", default=3, show_default=True, type=click.IntRange(min=1), help="How many lineages to show.")
@click.option("--full", is_flag=True, help="Print long texts whole.")
@config_options
def show(iteration: int, rows: int, full: bool, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Show a few lineages: a seed, its evolutions, their responses with rewards, and the pair."""
    from eva_data.cli.text.build import print_lineages

    print_lineages(look_at(config_path, overrides).store, iteration, rows, full=full)
