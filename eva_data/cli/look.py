"""Commands that show and check what exists."""

from __future__ import annotations

from pathlib import Path

import click

from eva_data.cli.options import config_options, iteration_option, look_at, read_config, start
from eva_data.cli.output import mode, reports
from eva_data.cli.output import report as tell
from eva_data.cli.say import say, sentence

ROWS, ROWS_OF_PAGE = 3, 40
"""Lineages that `show` shows."""

open_option = click.option("--open", "opens", is_flag=True, help="Show the page in the browser.")


@click.command()
@reports("name", "folder", "iterations", "spent")
@config_options
def status(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Say what exists, what is missing, and what is stale because the settings changed."""
    from eva_data.cli.text.build import print_status
    from eva_data.cli.text.values import status_values

    run = look_at(config_path, overrides)
    tell(lambda: print_status(run), lambda: status_values(run))


@click.command()
@reports("iteration", "source", "problems", "unknown")
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
    run = None
    if count:
        # A reward is called, so it has to be the user's own decision.
        run = start(read_config(config_path, overrides))
    elif repo is None:
        run = look_at(config_path, overrides)
    if repo is not None:
        found, where = verify_published(repo, iteration, revision, run=run, rescore=count), repo
    else:
        assert run is not None
        known = None if run.undecided else run
        found, where = verify_iteration(run.store, iteration, known, rescore=count), str(run.store.folder)
    unknown = f"Not checked: {'; '.join(found.unknown)}."
    said = f"Iteration {iteration} in {where} is what its tables and manifest say. {unknown}"
    if found.problems:
        said = "\n".join([*map(sentence, found.problems), unknown])
    tell(said, iteration=iteration, source=where, problems=found.problems, unknown=found.unknown)
    if found.problems:
        raise click.exceptions.Exit(1)


@click.command()
@reports("file")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to write the page. Default: report.html in the dataset's folder.",
)
@click.option(
    "--embeddings",
    metavar="MODEL",
    help="Find topics by this embedding model: e5 or minilm, whose weights come with a package, or a folder or Hub id "
    "for sentence-transformers. Default: by the words of the prompts.",
)
@open_option
@config_options
def report(
    output: Path | None, embeddings: str | None, opens: bool, config_path: Path | None, overrides: tuple[str, ...]
) -> None:
    """Write one HTML page on all iterations: how the curriculum moves, what it yields and what it costs.

    \b
    eva-data report --open
    eva-data report --output curriculum.html

    The page shows where every row went, how informative the prompts are, reward gaps and lengths, topics, strategies
    and their yields, depths, rejects with their reasons, and tokens and dollars. It is a single file that loads
    nothing and runs no script, so that it can be mailed or archived. Nothing is asked of any model.
    """
    from eva_data.report.curriculum import write_report

    store = look_at(config_path, overrides).store
    path = output or store.folder / "report.html"
    write_report(store, path, embeddings)
    _wrote(path, opens)


def _wrote(path: Path, opens: bool, **values: object) -> None:
    """Say where a page is, and show it if that was asked for."""
    tell(f"The page is in {path}", file=path, **values)
    if opens and click.launch(str(path)):
        say("No browser could be started here: open the file in one.", err=True)


@click.command()
@reports("iteration", "lineages", "consensus", "file")
@iteration_option
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    help="How many lineages to show, the most informative ones first. Default: 3, and 40 on a page.",
)
@click.option("--full", is_flag=True, help="Print long texts whole.")
@click.option("--html", "as_page", is_flag=True, help="Write an HTML page instead, with filters and whole trees.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where --html writes the page. Default: show_iter_N.html in the dataset's folder.",
)
@open_option
@config_options
def show(
    iteration: int,
    rows: int | None,
    full: bool,
    as_page: bool,
    output: Path | None,
    opens: bool,
    config_path: Path | None,
    overrides: tuple[str, ...],
) -> None:
    """Show a few lineages: a seed, its evolutions, their responses with rewards, and the pair.

    \b
    eva-data show --iter 2
    eva-data show --iter 2 --html --open

    With a consensus reward, a table first says how often the consensus is right, by prompts with a known answer.
    The page shows each lineage as a tree, attempts that failed among it, and filters by depth, strategy and reason.
    """
    if not as_page and (output is not None or opens):
        raise click.UsageError("--output and --open are for a page: add --html.")
    store = look_at(config_path, overrides).store
    if as_page:
        from eva_data.report.trees.lineages_page import write_lineages

        path = output or store.folder / f"show_iter_{iteration}.html"
        write_lineages(store, iteration, rows or ROWS_OF_PAGE, path)
        _wrote(path, opens, iteration=iteration)
        return
    from eva_data.cli.text.build import print_lineages
    from eva_data.cli.text.values import consensus_values, lineage_values

    tell(
        lambda: print_lineages(store, iteration, rows or ROWS, full=full),
        lambda: {
            "lineages": lineage_values(store, iteration, rows or ROWS),
            "consensus": consensus_values(store, iteration),
        },
        iteration=iteration,
    )


@click.command()
@reports("reason", "means", "reasons")
@click.argument("reason", required=False)
def explain(reason: str | None) -> None:
    """Say what a reason of `rejects` means; without REASON, what every reason means.

    \b
    eva-data explain all_rewards_equal
    """
    import difflib

    from eva_data.errors import DataError
    from eva_data.tables.reasons import GROUPS, PAGE, REASONS, explained

    if reason is None:
        heads = {first: f"\n{about}:\n" for first, about in GROUPS.items()}
        listed = "\n".join(f"{heads.get(word, '')}  {word}: {meaning}" for word, meaning in REASONS.items())
        tell(listed.lstrip("\n"), reasons=REASONS)
        return
    sentences = explained(reason)
    if not sentences:
        near = difflib.get_close_matches(reason, REASONS, n=1)
        hint = f"did you mean {near[0]}?" if near else "`eva-data explain` lists all reasons"
        raise DataError(f"no reason is called {reason}: {hint}")
    tell(f"{reason}: {' '.join(sentences)}\nAll reasons: eva-data explain, or {PAGE}", reason=reason, means=sentences)


@click.command()
@reports("name", "findings", "problems")
@config_options
def doctor(config_path: Path | None, overrides: tuple[str, ...]) -> None:
    """Look whether this machine, its keys and its servers are ready for what eva.yaml asks.

    \b
    eva-data doctor
    eva-data doctor --set solver.base_url=http://gpu-2:8000/v1

    One line each about packages, GPUs, memory, disks, the ledger's place, keys, servers, vLLM's environment, the Hub
    and Argilla, with the remedy where something is missing. Nothing is downloaded, loaded or paid. It ends with status
    1 if there is a problem; what could not be looked at is `unknown`.
    """
    from eva_data.doctor.examine import examine

    run = start(read_config(config_path, overrides))
    findings = []
    for finding in examine(run):
        findings.append(finding)
        if mode() is None:
            say(f"{'PROBLEM' if finding.state == 'problem' else finding.state:8} {finding.topic}: {finding.found}")
    problems = sum(finding.state == "problem" for finding in findings)
    built = run.store.iterations()
    said = (
        f"{problems} of {len(findings)} findings are problems."
        if problems
        else f"Nothing stands in the way of `eva-data plan --iter {built[-1] + 1 if built else 1}`."
    )
    tell(said, name=run.config.name, findings=findings, problems=problems)
    if problems:
        raise SystemExit(1)
