"""Texts after a push or a pull of reviews, and about the progress of a review."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from eva_data.cli.text.terminal import Terminal
from eva_data.dataset.store import Store
from eva_data.review.answers import answers_file
from eva_data.review.pull import PulledReviews
from eva_data.review.push import Pushed
from eva_data.review.status import STATUSES, ReviewProgress


def pushed_text(pushed: Pushed, iteration: int) -> str:
    """Where the pairs are, and how to go on."""
    there = pushed.chosen - pushed.added - pushed.changed - pushed.renewed
    lines = [
        f"{pushed.chosen} pairs of iteration {iteration} are in review as {pushed.name}, workspace {pushed.workspace}: "
        f"{pushed.added} added, {there} there already, {pushed.changed} updated."
    ]
    if pushed.renewed:
        lines.append(
            f"{pushed.renewed} were added under a new id: what is there under theirs has answers to other texts, and "
            "keeps them."
        )
    return "\n".join([*lines, pushed.url, f"Next: eva-data review status --iter {iteration}"])


def pulled_text(store: Store, iteration: int, pulled: PulledReviews) -> str:
    """The changes by a pull."""
    found, lines = pulled.figures, []
    counted = found["answers"].get("submitted", 0)
    if pulled.outdated:
        lines.append(
            f"Note: {pulled.outdated} answers on the server are to texts that iteration {iteration} does not have, and "
            "do not count."
        )
    if not counted and not pulled.revision:
        return "\n".join([*lines, f"Nobody has submitted an answer to {pulled.name} yet: nothing was changed."])
    if not pulled.new:
        which = f"iter-{iteration}.r{pulled.revision}"
        return "\n".join([*lines, f"{which} holds all answers already: nothing was changed."])
    who = "one person" if found["reviewers"] == 1 else f"{found['reviewers']} people"
    lines += [f"Made revision iter-{iteration}.r{pulled.revision} of {counted} answers by {who}."]
    lines += [f"  {line}" for line in outcome_lines(found)]
    private = answers_file(store, iteration, pulled.revision)
    if private.exists():
        lines.append(f"It holds how many gave each answer; single answers and comments stay in {private.parent}.")
    else:
        lines.append("It holds every answer and comment as it was written, under pseudonyms (`review.publish: full`).")
    if store.solver_folder(iteration).exists():
        lines.append(
            f"Note: theta_{iteration} was trained before this revision; to train it on this one, remove "
            f"{store.solver_folder(iteration)} first."
        )
    if iteration + 1 in store.iterations():
        lines.append(f"Note: iteration {iteration + 1} was built before this revision, see `eva-data status`.")
    return "\n".join([*lines, f"Next: eva-data publish --iter {iteration}, or eva-data build --iter {iteration + 1}"])


def outcome_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The numbers of a review, in words."""
    rejected = ", ".join(f"{reason} {count}" for reason, count in found["rejected"].items())
    yield (
        f"{found['pairs']} pairs were judged: {found['decided']} have a better response, for {found['overruled']} of "
        f"them the one that the reward puts lower; {found['undecided']} undecided"
        + (f"; rejected: {rejected}" if rejected else "")
    )
    if found["added"]:
        yield f"{found['added']} of them are pairs that the build had rejected"
    yield f"agreement between reviewers (Krippendorff's alpha): {_figure(found['alpha'])}"
    yield f"agreement of people with the reward: {_percent(found['agreement'])}"


def print_progress(progress: Sequence[ReviewProgress]) -> None:
    """Print a table of reviewers and a table of agreement for each iteration."""
    console = Terminal()
    for each in progress:
        done = f"{each.completed} of {each.records} done"
        table = Table(title=f"Iteration {each.iteration} in review as {each.name}: {done}", title_justify="left")
        table.add_column("reviewer")
        for status in STATUSES:
            table.add_column(status, justify="right")
        for name, counts in sorted(each.reviewers.items()):
            table.add_row(name, *(str(counts[status]) for status in STATUSES))
        console.print(table)
        for line in outcome_lines(each.figures):
            console.print(line, highlight=False, markup=False)
        if each.figures["quartiles"]:
            console.print(_quartiles(each.figures))
        if each.outdated:
            console.print(f"{each.outdated} answers are to texts that the iteration does not have.", highlight=False)


def _quartiles(figures: Mapping[str, Any]) -> Table:
    table = Table(title="People and the reward agree, by informativeness", title_justify="left")
    for column in ("quartile", figures["metric"], "pairs", "agree"):
        table.add_column(column, justify="right")
    for row in figures["quartiles"]:
        span = f"{row['least']:z.4g} to {row['most']:z.4g}"
        table.add_row(str(row["quartile"]), span, str(row["pairs"]), _percent(row["agreement"]))
    return table


def _figure(value: float | None) -> str:
    return "not known yet" if value is None else f"{value:z.2f}"


def _percent(value: float | None) -> str:
    return "not known yet" if value is None else f"{100 * value:z.0f} %"
