"""Commands that show what is there and check it."""

from __future__ import annotations

from pathlib import Path

import click

from eva_data.cli.options import config_options, iteration_option, read_config, start
from eva_data.cli.say import say, sentence


@click.command()
@config_options
def status(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Say what exists, what is missing, and what is stale because the settings changed."""
    from eva_data.cli.text.build import print_status

    print_status(start(read_config(config_path, overrides)))


@click.command()
@click.argument("repo", metavar="[OWNER/NAME]", required=False)
@iteration_option
@click.option("--revision", help="Of the repo: a tag, branch or commit. Default: the iteration's tag.")
@config_options
def verify(
    repo: str | None, iteration: int, revision: str | None, config_path: Path | None, overrides: tuple[str, ...]
) -> None:
    """Recompute an iteration's metrics, draw, mix and pairs from its tables and compare.

    \b
    eva-data verify --iter 2
    eva-data verify my-org/my-curriculum --iter 2
    """
    from eva_data.hub.verify import verify_iteration, verify_published

    if repo is not None:
        problems, where = verify_published(repo, iteration, revision), repo
    else:
        store = start(read_config(config_path, overrides)).store
        problems, where = verify_iteration(store, iteration), str(store.folder)
    for problem in problems:
        say(sentence(problem))
    if problems:
        raise click.exceptions.Exit(1)
    say(f"Iteration {iteration} in {where} is what its tables and manifest say.")


@click.command()
@iteration_option
@click.option("--rows", default=3, show_default=True, type=click.IntRange(min=1), help="How many lineages to show.")
@click.option("--full", is_flag=True, help="Print long texts whole.")
@config_options
def show(iteration: int, rows: int, full: bool, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Show a few lineages: a seed, its evolutions, their responses with rewards, and the pair."""
    from eva_data.cli.text.build import print_lineages

    print_lineages(start(read_config(config_path, overrides)).store, iteration, rows, full=full)
