"""`eva-data review`: sends pairs to reviewers in Argilla, shows their progress, and brings their verdicts back."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eva_data.cli.options import F, config_options, iteration_option, read_config, start
from eva_data.cli.output import report, reports
from eva_data.cli.say import say

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
@click.option("--local", is_flag=True, help="Take the answers of `review serve --local`, instead of a server's.")
@click.option(
    "--label-studio",
    "exported",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Take the answers of a JSON export of Label Studio, instead of a server's.",
)
@_server_options
@config_options
def pull(
    iteration: int,
    local: bool,
    exported: Path | None,
    api_url: str | None,
    workspace: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Merge people's verdicts into a new revision of an iteration; existing files are not changed.

    \b
    eva-data review pull --iter 2
    eva-data review pull --iter 2 --local
    eva-data publish --iter 2

    The next build and training use the newest revision. It is safe to repeat: without new answers there is no revision.
    """
    from eva_data.cli.text.review import pulled_text
    from eva_data.review.pull import merge_reviews, pull_reviews

    if local and exported is not None:
        raise click.UsageError("--local and --label-studio exclude each other: pull one after the other")
    run = _open(config_path, overrides, api_url, workspace)
    if exported is not None:
        from eva_data.review.local.label_studio import read_export, recorded_seed

        pulled = merge_reviews(run, iteration, read_export(exported, recorded_seed(run, iteration)))
    elif local:
        from eva_data.review.local.answers import answers_path, read_answers, records_of

        found = read_answers(answers_path(run.store, iteration))
        pulled = merge_reviews(run, iteration, records_of(found, run.config.review.publish))
    else:
        pulled = pull_reviews(run, iteration)
    report(pulled_text(run.store, iteration, pulled), iteration=iteration, **vars(pulled))


_pairs_options = (
    click.option(
        "--limit", default=200, show_default=True, type=click.IntRange(min=1), metavar="PAIRS", help="The most."
    ),
    click.option(
        "--order",
        default="informativeness",
        show_default=True,
        type=click.Choice(["informativeness", "gap", "random", "rejects"]),
        help="Which first, as for `review push`.",
    ),
)


def _pairs(command: F) -> F:
    """Add the options that choose pairs."""
    for option in _pairs_options:
        command = option(command)
    return command


@review.command()
@reports("iteration", "file", "interface", "pairs")
@iteration_option
@click.option(
    "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The JSON file of tasks to write."
)
@_pairs
@config_options
def export(
    iteration: int, output: Path, limit: int, order: str, config_path: Path | None, overrides: tuple[str, ...]
) -> None:
    """Write an iteration's pairs as tasks for Label Studio, in blind order, with the labelling interface beside them.

    \b
    eva-data review export --iter 2 --output tasks.json      # and tasks.xml, the interface of the project
    eva-data review pull --iter 2 --label-studio export.json # the project, exported as JSON
    """
    from eva_data.review.local.label_studio import write_tasks
    from eva_data.review.local.sheets import sheets_of

    if output.suffix != ".json":
        raise click.UsageError(f"`--output` is {output.name}: the tasks are JSON, so call it {output.stem}.json")
    sheets = sheets_of(start(read_config(config_path, overrides)), iteration, limit=limit, order=order)  # type: ignore[arg-type]
    write_tasks(output, sheets)
    interface = output.with_suffix(".xml")
    said = f"{output} holds {len(sheets)} pairs as tasks; {interface} is the labelling interface of their project."
    report(said, iteration=iteration, file=output, interface=interface, pairs=len(sheets))


@review.command()
@reports("text", "answered", "pairs")
@click.option("--local", is_flag=True, help="Serve a page of one's own on this machine, which needs no Argilla.")
@click.option("--iter", "iteration", type=click.IntRange(min=1), help="With --local: iteration, from 1.")
@click.option("--reviewer", metavar="NAME", help="With --local: who answers. Default: the user of this machine.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="With --local: the port. Default: a free one.")
@click.option("--open", "opens", is_flag=True, help="With --local: show the page in the browser.")
@click.option("--start", "begin", is_flag=True, help="Run Argilla here by docker compose, instead of saying how.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=Path("argilla"),
    show_default=True,
    help="With --start: where its compose file, password and key go.",
)
@_pairs
@config_options
def serve(
    local: bool,
    iteration: int | None,
    reviewer: str | None,
    port: int,
    opens: bool,
    begin: bool,
    folder: Path,
    limit: int,
    order: str,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Review pairs on a page of this machine, or say how to run an Argilla server, or run it.

    \b
    eva-data review serve --local --iter 2 --open   # keys 1 to 4 answer; every answer is kept at once
    eva-data review pull --iter 2 --local           # makes a revision of the answers
    eva-data review serve                           # how to run Argilla
    eva-data review serve --start

    The local page is for people at this machine: it listens at 127.0.0.1 alone, and its address holds a token.
    """
    if local:
        if iteration is None:
            raise click.UsageError("`--local` shows the pairs of an iteration: add --iter")
        run = start(read_config(config_path, overrides))
        _serve_here(run, iteration, reviewer, port, opens=opens, limit=limit, order=order)
        return
    from eva_data.review.serve import instructions, start_server

    said = start_server(folder) if begin else instructions()
    report(said, text=said)


def _serve_here(
    run: Run, iteration: int, reviewer: str | None, port: int, *, opens: bool, limit: int, order: str
) -> None:
    import getpass
    import webbrowser

    from eva_data.review.dataset import TOLD
    from eva_data.review.local.answers import answers_path
    from eva_data.review.local.server import ReviewServer
    from eva_data.review.local.sheets import sheets_of

    publish, name = run.config.review.publish, reviewer or getpass.getuser()
    sheets = sheets_of(run, iteration, limit=limit, order=order)  # type: ignore[arg-type]
    title = f"{run.config.name}, iteration {iteration}"
    path = answers_path(run.store, iteration)
    with ReviewServer(
        sheets, path, title=title, reviewer=name, told=publish, promise=TOLD[publish], port=port
    ) as server:
        say(f"{len(sheets)} pairs for {name} are at {server.url}\nCtrl-C ends; every answer is kept at once.", err=True)
        if opens:
            webbrowser.open(server.url)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever(poll_interval=0.2)
        answered = len(server.mine())
    said = f"{answered} of {len(sheets)} pairs are answered. Next: eva-data review pull --iter {iteration} --local"
    report(said, text=said, answered=answered, pairs=len(sheets))
