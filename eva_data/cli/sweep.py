"""The command that plays several arms of the game and compares them."""

from __future__ import annotations

from pathlib import Path

import click

from eva_data.cli.options import budget_option
from eva_data.cli.output import report, reports
from eva_data.cli.say import say


@click.command()
@reports("name", "folder", "arms", "verdicts", "failed", "outlook")
@click.argument("file", metavar="FILE|NAME")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="Where it goes. Default: sweeps/<name>."
)
@click.option(
    "--ledger",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The ledger, which several sweeps may share. Default: ledger.sqlite in the sweep's folder.",
)
@click.option(
    "--take-over",
    "others",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Copy what this sweep has finished with the same settings and seed. May be repeated.",
)
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(min=1), help="Arms played at the same time.")
@click.option("--seeds", type=click.IntRange(min=1), help="Play the first seeds only; the report says how many of all.")
@click.option("--arm", "arms", multiple=True, metavar="ARM", help="Play this arm only. May be repeated.")
@click.option("--dry-run", is_flag=True, help="Say what would be played and what it could show, then stop.")
@budget_option
def sweep(
    file: str,
    folder: Path | None,
    ledger: Path | None,
    others: tuple[Path, ...],
    jobs: int,
    seeds: int | None,
    arms: tuple[str, ...],
    dry_run: bool,
    budget: float | None,
) -> None:
    """Play several arms of the game with several seeds, and say which of them is better.

    \b
    eva-data sweep table-5 --jobs 2            # a ready sweep: the paper's table 5 in the sandbox
    eva-data sweep my-sweep.yaml --dry-run     # what would be played, and which result would be significant
    eva-data sweep my-sweep.yaml --seeds 2     # a first look; the same command without it goes on

    \b
    A sweep file names everything before anything runs:
        name: fraction
        question: Does it matter how many prompts are drawn?
        config: eva.yaml                       # what all arms share
        iterations: 3
        seeds: 8
        arms:
          quarter: [sample.fraction=0.25]
          half: [sample.fraction=0.5]
        compare: [[quarter, half]]
        primary: {set: heldout}                # a set of `evaluate`, on which the last theta's mean score decides
        margin: 0.01                           # differences below this are called equivalent

    All arms share one ledger, so no finished call is paid twice. It is safe to repeat after a kill. Sweeps that share a
    ledger (`--ledger`) pay once for what they have in common, such as theta_0's answers; `--budget` bounds the sum.
    `--take-over` copies whole arms that another sweep has played just so, trained solvers included.
    """
    from eva_data.cli.text.sweeps import outlook, print_ended, print_sweep
    from eva_data.experiments.arms import LEDGER, begin, play_all, plays_of, take_over
    from eva_data.experiments.design import read_sweep
    from eva_data.experiments.finish import finish
    from eva_data.experiments.worlds import hold_gate

    read = read_sweep(file)
    place = folder or Path("sweeps") / read.design.name
    if unknown := sorted(set(arms) - set(read.design.arms)):
        raise click.UsageError(f"`--arm {unknown[0]}` is no arm: known are {', '.join(read.design.arms)}")
    plays = plays_of(read)[: None if seeds is None else seeds * len(read.design.arms)]
    plays = tuple(play for play in plays if not arms or play.arm in arms)
    if dry_run:
        said = outlook(read, place, plays)
        report(said, name=read.design.name, folder=place, outlook=said)
        return
    ledger = ledger or place / LEDGER
    begin(read, place, ledger)
    hold_gate(read, place)
    for other in others:
        taken = take_over(read, place, plays, other)
        say(f"{len(taken)} of {len(plays)} plays are taken over from {other}.", err=True)
    tell = print_ended(read.design, place, len(plays))
    ended = play_all(read, place, plays, ledger=ledger, jobs=jobs, budget=budget, ended=tell)
    command = ["eva-data", "sweep", Path(file).name, *(["--seeds", str(seeds)] if seeds else [])]
    command += [word for arm in arms for word in ("--arm", arm)]
    # Arms that were played before count too.
    result = finish(read, place, plays_of(read), ended, command)
    report(
        lambda: print_sweep(result, place),
        name=read.design.name,
        folder=place,
        arms=result.arms,
        verdicts=result.verdicts,
        failed=[each.error for each in result.failed],
    )
