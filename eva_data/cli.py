"""The command line: parse, call one function, print where the result went."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from eva_data import __version__
from eva_data.errors import EvaError

if TYPE_CHECKING:
    from eva_data.config import Config
    from eva_data.run import Run

F = TypeVar("F", bound=Callable[..., Any])

_DEBUG = "--debug"


class Commands(click.Group):
    """Prints an error that is meant for the user as one sentence; any other keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EvaError as error:
            message = str(error)
        except OSError as error:
            # No space, no permission, a file-size limit: the machine's fault, and everything finished is kept.
            where = f" ({error.filename})" if error.filename else ""
            message = f"{error.strerror or error}{where}; what was finished is kept: make room or mend it, then repeat"
        if ctx.params.get("debug"):
            traceback.print_exc()
        click.echo(f"Error: {message}", err=True)
        sys.exit(1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(_DEBUG, is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__)
def main(debug: bool) -> None:
    """Grow a training curriculum for language models by creator/solver self-play.

    Each iteration keeps the prompts whose responses differ most in reward, rewrites them into new ones, answers
    and scores these, and pairs the best with the worst answer, after arXiv 2411.00062. The result is a folder
    that `datasets.load_dataset` reads.

    \b
    With no eva.yaml everything runs in a small built-in sandbox, with no network, key or GPU:
        eva-data build --iter 2
    To begin with your own prompts and model:
        eva-data init && $EDITOR eva.yaml && eva-data build --iter 1
    """


def config_options(command: F) -> F:
    """--config and --set, which every command that reads the settings has."""
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


def read_config(config_path: Path | None, overrides: tuple[str, ...]) -> Config:
    from eva_data.settings import load_config

    default = Path("eva.yaml")
    if config_path is None and default.exists():
        config_path = default
    if config_path is None:
        click.echo("No eva.yaml here: using the sandbox, a small built-in world with a model of its own.", err=True)
    return load_config(config_path, overrides)


def start(config: Config, solver: str | None = None, budget: float | None = None) -> Run:
    from eva_data.console import ConsoleReporter
    from eva_data.run import Run

    return Run(config, ConsoleReporter(), solver, budget)


@main.command()
@click.option("--recipe", metavar="NAME", help="Begin with ready settings: paper, vllm, openai-server, cpu or gsm8k.")
@click.option("--force", is_flag=True, help="Overwrite an eva.yaml that is there.")
def init(recipe: str | None, force: bool) -> None:
    """Write a commented eva.yaml to this folder.

    \b
    eva-data init                       # your prompts, a model in this process, a scoring function of yours
    eva-data init --recipe paper        # the paper's: gemma-2-9b-it, ArmoRM, UltraFeedback, a Gemini creator
    eva-data init --recipe vllm         # all on your own GPUs, served by vLLM
    """
    from eva_data.settings import write_template

    path = Path("eva.yaml")
    write_template(path, recipe, force=force)
    click.echo(f"Wrote {path}. Name your prompts, solver and reward in it, then: eva-data build --iter 1")


@main.command()
@iteration_option
@click.option("--only", is_flag=True, help="Refuse to build or train earlier iterations that are missing.")
@solver_option
@budget_option
@click.option("--push", is_flag=True, help="Publish it to the Hub, as `eva-data publish` does.")
@click.option("--dry-run", is_flag=True, help="Print the resolved settings and what would be done, then stop.")
@config_options
def build(
    iteration: int,
    only: bool,
    solver: str | None,
    budget: float | None,
    push: bool,
    dry_run: bool,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Build an iteration, and whatever it needs that is missing.

    \b
    eva-data build --iter 2
    eva-data build --iter 2 --set sample.fraction=0.5 --set folder=data/half
    eva-data build --iter 3 --solver my-org/trained-elsewhere
    eva-data build --iter 1 --budget 20

    Safe to repeat: a finished iteration is left as it is, and after a kill no finished model call is made again.
    """
    from eva_data.play import outline, play
    from eva_data.summary import print_build

    run = start(read_config(config_path, overrides), solver, budget)
    if push:
        from eva_data.publish import refuse_unready

        # Before anything is paid for.
        refuse_unready(run)
    if dry_run:
        click.echo(outline(run, iteration, only=only) + (f"\n- publish to {run.config.publish.repo}" if push else ""))
        return
    manifest = play(run, iteration, only=only, train_last=False)
    print_build(run, manifest)
    if push:
        _publish(run, iteration)


@main.command()
@iteration_option
@click.option(
    "--pilot",
    "prompts",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    metavar="PROMPTS",
    help="Ask about so many prompts first, as the build would, and plan from that. What it pays is not paid again.",
)
@solver_option
@budget_option
@config_options
def plan(
    iteration: int,
    prompts: int,
    solver: str | None,
    budget: float | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Say what an iteration will take and cost: calls, tokens, dollars and time of every stage.

    \b
    eva-data plan --iter 1
    eva-data plan --iter 2 --pilot 8 --budget 20
    """
    from eva_data.money import print_plan
    from eva_data.pilot import ask_pilot
    from eva_data.plan import plan_iteration

    run = start(read_config(config_path, overrides), solver, budget)
    piloted = ask_pilot(run, iteration, prompts)
    print_plan(plan_iteration(run, iteration), piloted, budget)


@main.command()
@iteration_option
@click.option("--push", "repo", metavar="OWNER/NAME", help="Push it to this model repo on the Hub, private by default.")
@visibility_option
@click.option("--licence", help="With --push: the model's licence by the Hub's name; a public repo needs one.")
@config_options
def train(
    iteration: int,
    repo: str | None,
    private: bool | None,
    licence: str | None,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Train the solver on an iteration's pairs: theta_t, which answers in iteration t + 1.

    \b
    eva-data train --iter 1
    eva-data train --iter 1 --push my-org/my-solver

    Safe to repeat: what is trained is not trained again, so --push may come later.
    """
    from eva_data.play import train_iteration

    run = start(read_config(config_path, overrides))
    if repo is not None:
        from eva_data.push_model import model_target, push_model

        # Before an hour of training.
        target = model_target(run, repo, private=private, licence=licence)
    with run.store.locked():
        folder = train_iteration(run, iteration)
    click.echo(f"theta_{iteration} is in {folder}. Next: eva-data build --iter {iteration + 1}")
    if repo is not None:
        pushed = push_model(run, iteration, target)
        click.echo(f"{pushed.url} holds it at {pushed.tag}; {pushed.files} files were uploaded.")


@main.command()
@click.option("--iters", type=click.IntRange(min=1), required=True, help="Iterations to play, each built and trained.")
@budget_option
@config_options
def run(iters: int, budget: float | None, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Build and train in turn, from what is there up to the given iteration."""
    from eva_data.play import play
    from eva_data.summary import print_build

    game = start(read_config(config_path, overrides), budget=budget)
    manifest = play(game, iters, only=False, train_last=True)
    print_build(game, manifest)


@main.command()
@config_options
def status(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Say what exists, what is missing, and what is stale because the settings changed."""
    from eva_data.summary import print_status

    print_status(start(read_config(config_path, overrides)))


@main.command()
@iteration_option
@repo_option
@visibility_option
@click.option("--dry-run", is_flag=True, help="Print the files, their sizes and the card, and change nothing.")
@config_options
def publish(
    iteration: int,
    repo: str | None,
    private: bool | None,
    dry_run: bool,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Publish an iteration to the Hub: one commit and the tag `iter-N`.

    \b
    eva-data publish --iter 1 --repo my-org/my-curriculum --dry-run
    eva-data publish --iter 1 --repo my-org/my-curriculum
    eva-data publish --iter 2 --public --set publish.licence=cc-by-4.0

    Earlier iterations that are not published yet go first, each with a commit and a tag of its own. Safe to repeat;
    what is published is never overwritten. Log in with `hf auth login`, or set HF_TOKEN.
    """
    run = start(read_config(config_path, overrides))
    _publish(run, iteration, repo, private, dry_run=dry_run)


def _publish(
    run: Run, iteration: int, repo: str | None = None, private: bool | None = None, *, dry_run: bool = False
) -> None:
    from eva_data.publish import publish
    from eva_data.receipt import published_text

    published = publish(run, iteration, repo=repo, private=private, dry_run=dry_run)
    click.echo(published_text(published, iteration, dry_run=dry_run))


@main.command()
@click.argument("repo", metavar="OWNER/NAME")
@click.option("--revision", help="Tag, branch or commit, such as iter-2. Default: the newest.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to put it. Default: data/NAME, as a build would."
)
def pull(repo: str, revision: str | None, folder: Path | None) -> None:
    """Bring a published dataset to this machine, to go on with its next iteration.

    \b
    eva-data pull my-org/my-curriculum --revision iter-2
    eva-data build --iter 3

    Every file is compared with the SHA-256 in its manifest. Where this folder has no eva.yaml, one is written that
    holds the dataset's settings.
    """
    from eva_data.console import ConsoleReporter
    from eva_data.files import write_text
    from eva_data.pull import pull, settings_text
    from eva_data.receipt import pulled_text

    place = folder or Path("data") / repo.rpartition("/")[2]
    pulled = pull(repo, place, revision=revision, on_progress=ConsoleReporter().stage("pull", 0))
    settings = Path("eva.yaml")
    written = not settings.exists()
    if written:
        write_text(settings, settings_text(pulled, repo))
    click.echo(pulled_text(pulled, repo, settings, read_config(settings, ()), written=written))


@main.command()
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
    from eva_data.verify import verify_iteration, verify_published

    if repo is not None:
        problems, where = verify_published(repo, iteration, revision), repo
    else:
        store = start(read_config(config_path, overrides)).store
        problems, where = verify_iteration(store, iteration), str(store.folder)
    for problem in problems:
        click.echo(problem)
    if problems:
        raise click.exceptions.Exit(1)
    click.echo(f"Iteration {iteration} in {where} is what its tables and manifest say.")


@main.command()
@iteration_option
@click.option("--rows", default=3, show_default=True, type=click.IntRange(min=1), help="How many lineages to show.")
@config_options
def show(iteration: int, rows: int, config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Show a few lineages: a seed, its evolutions, their responses with rewards, and the pair."""
    from eva_data.summary import print_lineages

    print_lineages(start(read_config(config_path, overrides)).store, iteration, rows)


if __name__ == "__main__":
    main()
