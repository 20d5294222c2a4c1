"""What `sweep` prints: what would be played, each play as it ends, and the comparisons."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from eva_data.cli.output import mode
from eva_data.cli.say import say
from eva_data.cli.text.terminal import Terminal
from eva_data.experiments.arms import Ended, Play
from eva_data.experiments.design import Design, Sweep
from eva_data.experiments.finish import Result
from eva_data.experiments.outcomes import outcomes_of, scores_of
from eva_data.experiments.verdicts import is_descriptive, seeds_needed, smallest_p
from eva_data.experiments.written import arms_in_words, measure_in_words, outcome_in_words, start_in_words


def outlook(sweep: Sweep, folder: Path, plays: Sequence[Play]) -> str:
    """What a sweep would play, and which result could be significant."""
    design = sweep.design
    arms = len({play.arm for play in plays})
    seeds, comparisons = len({play.seed for play in plays}), len(design.compare)
    lines = [
        f"{design.name}: {design.question}",
        f"{arms} arms x {seeds} seeds = {len(plays)} plays of {design.iterations} iterations, in {folder}",
        outcome_in_words(design),
    ]
    lines += [f"- {arm}: {own}" for arm, own in arms_in_words(design).items()]
    smallest = smallest_p(seeds, comparisons)
    if is_descriptive(seeds, comparisons):
        lines.append(
            f"Descriptive only: with {seeds} seeds and {comparisons} comparisons no p value can be below "
            f"{smallest:z.3g}; {seeds_needed(comparisons)} seeds could be significant."
        )
    else:
        lines.append(f"The smallest p value that {seeds} seeds and {comparisons} comparisons allow is {smallest:z.2g}.")
    return "\n".join(lines)


def print_ended(design: Design, folder: Path, plays: int) -> Callable[[Ended], None]:
    """A function that prints one line for each play that ended: to standard error beside JSON, none with `--quiet`."""
    done = 0

    def told(text: str) -> None:
        if mode() != "quiet":
            say(text, err=mode() == "json")

    def tell(ended: Ended) -> None:
        nonlocal done
        done += 1
        play = ended.play
        head = f"{done}/{plays} {play.arm}, seed {play.seed}"
        if ended.error is not None:
            told(f"{head}: failed after {ended.seconds:z.0f} s: {ended.error} ({play.log(folder)})")
            return
        value = outcomes_of(design, folder, [play], scores_of(design, folder, [play]))["value"]
        score = f"{100 * value[0]:z.1f} %" if len(value) else "no score"
        told(f"{head}: {score} after {ended.seconds:z.0f} s")

    return tell


def print_sweep(result: Result, folder: Path) -> None:
    """Print the arms and the comparisons, and where the report is."""
    table = Table(box=None, pad_edge=False)
    for name in ("arm", "seeds", measure_in_words(design := result.design), "95 % interval", start_in_words(design)):
        table.add_column(name, justify="left" if name == "arm" else "right")
    for record in result.arms:
        ends = "-" if record["low"] is None else f"{100 * record['low']:z.1f} to {100 * record['high']:z.1f}"  # type: ignore[operator]
        shown = ["-" if record[name] is None else f"{100 * record[name]:z.1f}" for name in ("mean", "theta_0")]  # type: ignore[operator]
        table.add_row(str(record["arm"]), str(record["seeds"]), shown[0], ends, shown[1])
    Terminal().print(table)
    for verdict in result.verdicts:
        say(verdict.sentence)
    say(f"Report: {folder / 'report.md'} and {folder / 'report.html'}")
    if result.failed:
        from eva_data.errors import EvaError

        raise EvaError(
            f"{len(result.failed)} of the plays did not come to their end, and their seeds are left out: mend what "
            "their last words above name, and repeat the command, which plays only what is missing"
        )
