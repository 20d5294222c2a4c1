"""`eva-data review`: sends pairs to reviewers in Argilla, shows their progress, and brings their verdicts back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from eva_data.cli.options import F, config_options, iteration_option, read_config, start
from eva_data.cli.output import report, reports

if TYPE_CHECKING:
    from eva_data.iteration.run import Run


_PUSHED = ("name", "workspace", "url", "chosen", "added", "changed", "renewed")


@click.group()
def review() -> None:
    """Let people review pairs in Argilla, and bring their verdicts back as a revision.

    \b
    export ARGILLA_API_URL=http://127.0.0.1:6900 ARGILLA_API_KEY=...
    eva-data review push --iter 2
    eva-data review status --iter 2
    eva-data review pull --iter 2
    """


def _server_options(command: F) -> F:
    """Add the options for the address of Argilla. Its key comes only from the environment."""
    for option in (
        click.option("--workspace", metavar="NAME", help="Whose members review. Default: the first of the key's user."),
        click.option("--api-url", metavar="URL", help="The Argilla server. Default: ARGILLA_API_URL."),
    ):
        command = option(command)
    return command


def _open(config_path: Path | None, overrides: tuple[str, ...], api_url: str | None, workspace: str | None) -> Run:
    given = {"review.api_url": api_url, "review.workspace": workspace}
    named = [f"{key}={value}" for key, value in given.items() if value is not None]
    return start(read_config(config_path, (*overrides, *named)))


@review.command()
@reports("iteration", "name", "workspace", "url", "chosen", "added", "changed", "renewed")
@iteration_option
@click.option(
    "--limit", default=200, show_default=True, type=click.IntRange(min=1), metavar="PAIRS", help="The most to push."
)
@click.option(
    "--order",
    default="informativeness",
    show_default=True,
    type=click.Choice(["informativeness", "gap", "random", "rejects"]),
    help="Which first: the most informative, the least gap in reward, any, or pairs that the build rejected.",
)
@click.option("--suggest", is_flag=True, help="Show what the reward prefers, pre-selected. It sways people.")
@click.option(
    "--min-submitted", type=click.IntRange(min=1), metavar="PEOPLE", help="Answers to a pair after which it is done."
)
@_server_options
@config_options
def push(
    iteration: int,
    limit: int,
    order: str,
    suggest: bool,
    min_submitted: int | None,
    api_url: str | None,
    workspace: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Send an iteration's pairs to reviewers, with the two responses in blind order.

    \b
    eva-data review push --iter 2
    eva-data review push --iter 2 --limit 500 --order random --min-submitted 2

    It is safe to repeat: no pair is added twice, and every answer stays with the texts that it was given to.
    """
    from eva_data.cli.text.review import pushed_text
    from eva_data.review.push import push

    pushed = push(
        _open(config_path, overrides, api_url, workspace),
        iteration,
        limit=limit,
        order=order,  # type: ignore[arg-type]
        suggest=suggest,
        min_submitted=min_submitted,
    )
    report(pushed_text(pushed, iteration), iteration=iteration, **{name: getattr(pushed, name) for name in _PUSHED})


@review.command()
@reports("reviews")
@click.option("--iter", "iteration", type=click.IntRange(min=1), help="Iteration, from 1. Default: all in review.")
@_server_options
@config_options
def status(
    iteration: int | None,
    api_url: str | None,
    workspace: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Say how much each reviewer has answered, and how far people agree with each other and with the reward."""
    from eva_data.cli.text.review import print_progress
    from eva_data.review.status import review_progress

    run = _open(config_path, overrides, api_url, workspace)
    found = review_progress(run, [iteration] if iteration else run.store.iterations())
    report(lambda: print_progress(found), reviews=found)


@review.command()
@reports("iteration", "name", "revision", "new", "figures", "outdated")
@iteration_option
@_server_options
@config_options
def pull(
    iteration: int,
    api_url: str | None,
    workspace: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Merge people's verdicts into a new revision of an iteration; existing files are not changed.

    \b
    eva-data review pull --iter 2
    eva-data publish --iter 2

    The next build and training use the newest revision. It is safe to repeat: without new answers there is no revision.
    """
    from eva_data.cli.text.review import pulled_text
    from eva_data.review.pull import pull_reviews

    run = _open(config_path, overrides, api_url, workspace)
    pulled = pull_reviews(run, iteration)
    report(pulled_text(run.store, iteration, pulled), iteration=iteration, **vars(pulled))


@review.command()
@reports("text")
@click.option("--start", "begin", is_flag=True, help="Run it here by docker compose, instead of saying how.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("argilla"),
    show_default=True,
    help="With --start: where its compose file, password and key go.",
)
def serve(begin: bool, folder: Path) -> None:
    """Say how to run an Argilla server on this machine, or run it."""
    from eva_data.review.serve import instructions, start_server

    said = start_server(folder) if begin else instructions()
    report(said, text=said)
