"""Texts about a build: tables of the flow, the state of a folder, a few lineages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eva_data.cli.text.costs import spent_table
from eva_data.cli.text.evaluations import print_evaluations
from eva_data.cli.text.terminal import Terminal
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.records.acceptance import how_far, read_acceptance, rejected_folder
from eva_data.dataset.staleness import settings_hash
from eva_data.dataset.store import Store
from eva_data.errors import DataError, EvaError
from eva_data.foreign import cut, visible
from eva_data.game.retry import RetryResult
from eva_data.iteration.run import Run
from eva_data.iteration.stale import changes
from eva_data.iteration.thetas import refuse_damaged
from eva_data.ledger import Ledger
from eva_data.report.figures import duration
from eva_data.report.lineage import lineage, most_informative, relatives
from eva_data.report.measures.consensus import interval, precision_of, span
from eva_data.report.sections.funnel import WORDS
from eva_data.tables.reasons import PAGE, explained


def print_build(run: Run, manifest: Manifest, seconds: float, *, already: bool = False) -> None:
    """Print what came out and in how many seconds, then the short tables of a build and the next command.

    `already` says that the iteration was finished before: then nothing of it is new, and the tables are left out.
    """
    console = Terminal()
    iteration = manifest.iteration
    has_pairs = manifest.counts.pairs > 0
    counts = manifest.counts
    if has_pairs:
        came_out = f"{counts.pairs} pairs of {counts.prompts} prompts, in {duration(seconds)}"
        if already:
            came_out = f"{counts.pairs} pairs of {counts.prompts} prompts; iteration {iteration} was there already"
        console.print(came_out, markup=False, highlight=False, soft_wrap=True)
    else:
        console.print(_without_pairs(manifest), markup=False, highlight=False, soft_wrap=True)
    if not already:
        console.print(_flow_table(manifest))
        console.print(_rejects_table(manifest))
        console.print(_informativeness_table(manifest))
        print_evaluations(run)
        for note in manifest.notes:
            console.print(f"Note: {visible(note)}", markup=False)
    folder, table = run.config.folder, "preferences" if has_pairs else "responses"
    console.print(f"\nThe data is in {folder}:", markup=False, highlight=False)
    console.print(f'  load_dataset("{folder}", "{table}", split="iter_{iteration}")', markup=False, highlight=False)
    if not has_pairs:
        console.print(
            "Next: change what keeps rewards alike (`solver.responses`, `solver.temperature`, `pair`, `reward`) and "
            "build into a folder of its own with `--set folder=...`",
            markup=False,
        )
        return
    trainable = run.config.trains and iteration >= run.config.first_answered
    trained = run.store.solver_folder(iteration).exists()
    following = f"train --iter {iteration}" if trainable and not trained else f"build --iter {iteration + 1}"
    console.print(f"Next: eva-data {following}, or look at it with: eva-data show --iter {iteration}", markup=False)


def _without_pairs(manifest: Manifest) -> str:
    """A sentence that an iteration has no pairs, and why."""
    reasons = manifest.counts.rejects_by_reason.get("pair", {})
    why = ", ".join(f"{reason} {count}" for reason, count in reasons.items()) or "it has no prompts"
    return f"Iteration {manifest.iteration} has no preference pairs ({why}), so there is nothing in it to train on."


def _cell(text: str) -> Text:
    """A text of a manifest for a table, in which neither the terminal nor rich reads a command."""
    return Text(visible(text))


def _flow_table(manifest: Manifest) -> Table:
    table = Table(title=f"Iteration {manifest.iteration}: where every row went", title_justify="left")
    table.add_column("what happens")
    table.add_column("of")
    for column in ("in", "out", "rejected", "set aside"):
        table.add_column(column, justify="right")
    for flow in manifest.flow:
        counts = (flow.rows_in, flow.rows_out, flow.rejected, flow.set_aside)
        table.add_row(_cell(WORDS.get(flow.stage, flow.stage)), _cell(flow.unit), *map(str, counts))
    return table


def _rejects_table(manifest: Manifest) -> Table:
    table = Table(
        title="Rejected, by reason",
        title_justify="left",
        caption=f"All reasons: eva-data explain, or {PAGE}",
        caption_justify="left",
    )
    table.add_column("stage")
    table.add_column("reason")
    table.add_column("rows", justify="right")
    table.add_column("what it means")
    for stage, reasons in manifest.counts.rejects_by_reason.items():
        for reason, count in reasons.items():
            table.add_row(_cell(stage), _cell(reason), str(count), " ".join(explained(reason)))
    for reason, count in (manifest.evolving.eliminated if manifest.evolving else {}).items():
        table.add_row("evolve", _cell(reason), str(count), " ".join(explained(reason)))
    return table


def _informativeness_table(manifest: Manifest) -> Table:
    rows = manifest.informativeness
    metric = rows[0].metric if rows else "informativeness"
    table = Table(title=f"Informativeness ({metric})", title_justify="left")
    table.add_column("prompts")
    for column in ("count", "mean", "q25", "median", "q75"):
        table.add_column(column, justify="right")
    for row in rows:
        figures = (row.mean, row.q25, row.median, row.q75)
        table.add_row(
            _cell(row.prompts), str(row.count), *("-" if value is None else f"{value:z.4g}" for value in figures)
        )
    return table


def print_status(run: Run) -> None:
    """Print what exists, what is missing and what is stale."""
    console = Terminal()
    store = run.store
    built = store.iterations()
    table = Table(title=f"{run.config.name} in {run.config.folder}", title_justify="left")
    for column in ("iteration", "tables", "theta", "settings"):
        table.add_column(column)
    previous: Manifest | None = None
    for iteration in range(1, max(built, default=0) + 2):
        trained = _trained(store, iteration)
        if iteration not in built:
            table.add_row(str(iteration), "missing", trained, "")
            continue
        try:
            manifest, changed = store.manifest(iteration), store.changed_files(iteration)
        except DataError as error:
            table.add_row(str(iteration), _cell(f"UNREADABLE: {error}"), trained, "unknown")
            previous = None
            continue
        counts = manifest.counts
        tables = f"{counts.prompts} prompts, {counts.pairs} pairs"
        if manifest.review is not None:
            tables += f"; r{manifest.revision}, {manifest.review['pairs']} pairs judged by people"
        if manifest.retried is not None:
            tables += f"; r{manifest.revision}, {manifest.retried.left} of {manifest.retried.asked} given up again"
        if changed:
            tables += f"; CHANGED since: {', '.join(changed)}"
        table.add_row(str(iteration), _cell(tables), trained, _cell(_staleness(run, manifest, previous)))
        previous = manifest
    console.print(table)
    if run.ledger.exists():
        with Ledger(run.ledger) as ledger:
            totals = ledger.totals()
            print_spent(console, ledger)
        console.print(
            f"Ledger: {totals['generations']} completions, {totals['rewards']} rewards, "
            f"{totals['repeated']} made twice",
            highlight=False,
        )


def print_spent(console: Console, ledger: Ledger) -> None:
    """Print what every stage of every iteration took and cost."""
    bills = ledger.bills()
    if bills:
        console.print(spent_table(bills))


def _trained(store: Store, theta: int) -> str:
    rejected = rejected_folder(store, theta).exists()
    if not store.solver_folder(theta).exists() and not rejected:
        return "missing"
    try:
        if not rejected:
            refuse_damaged(store, theta)
        kept = read_acceptance(store, theta)
    except DataError as error:
        return f"DAMAGED: {error}"
    if rejected:
        return f"NOT ACCEPTED: {'; '.join(kept.why)}" if kept else "NOT ACCEPTED"
    return "; ".join(["trained", *how_far(kept.moved if kept else None)])


def retried_text(again: RetryResult) -> str:
    """What asking again came to."""
    manifest = again.manifest
    if not again.asked:
        return f"Iteration {manifest.iteration} has no row that a server gave up on: nothing was asked again."
    if not again.gained:
        return (
            f"All {again.asked} rows of iteration {manifest.iteration} were given up again, so it stays as it is: try "
            "when the server works."
        )
    changed = ", ".join(f"{rows:+} {name}" for name, rows in again.gained.items() if rows) or "no other numbers of rows"
    tag = f"iter-{manifest.iteration}.r{manifest.revision}"
    return (
        f"Made revision {tag}: of {again.asked} rows that were given up, {again.left} still are ({changed}). What was "
        f"built before stays beside it.\nPublish it with: eva-data publish --iter {manifest.iteration}"
    )


def _staleness(run: Run, manifest: Manifest, previous: Manifest | None) -> str:
    try:
        found = changes(run, manifest)
    except EvaError as error:
        return f"unknown: {error}"
    if found.settings or found.inputs:
        return "stale: " + "; ".join((*found.settings, *found.inputs))
    made_from = manifest.previous
    if (
        previous is not None
        and made_from
        and (made_from.settings_hash != settings_hash(previous) or made_from.files != previous.files)
    ):
        if made_from.revision < previous.revision:
            how = "reviewed" if previous.review is not None else "asked again"
            return f"stale: iteration {previous.iteration} was {how} since, and is at r{previous.revision}"
        return f"stale: iteration {previous.iteration} is not the one it was built from"
    absent = " and ".join(f"`{key}`" for key in found.unknown)
    return f"as they are now, as far as is known: {absent} cannot be read here" if absent else "as they are now"


SHORT = 8
"""Characters of an id that `show` prints."""

LONGEST, LINES = 500, 12
"""Characters and lines of a text that `show` prints, unless the user asks for all."""


def print_lineages(store: Store, iteration: int, rows: int, *, full: bool = False) -> None:
    """Print the most informative pairs of an iteration, each from its seed through its evolutions to its responses.

    Long texts are cut unless `full`. Further lines of a text begin with a bar, so that none can pose as another text.
    """
    console = Terminal()
    store.manifest(iteration)
    chosen, count = most_informative(store, iteration, rows)
    if not count:
        console.print(f"Iteration {iteration} has no pairs; see its `rejects` for the reasons.")
    known = relatives(store, iteration, chosen["root_id"])
    shown = (pl.col("stage") != "estimate") & pl.col("prompt_id").is_in(chosen["prompt_id"].implode())
    responses = store.scan("responses", iteration).filter(shown).collect(engine="streaming")
    console.print(
        f"Iteration {iteration}: {chosen.height} of {count} pairs, the most informative first. "
        "a_min is the highest reward of a prompt's responses less the lowest.",
        highlight=False,
        soft_wrap=True,
    )
    print_consensus(console, store, iteration)
    for pair in chosen.to_dicts():
        console.rule(f"pair {pair['pair_id'][:SHORT]}, a_min {pair['a_min']:z.3f}")
        before: list[dict[str, str]] = []
        for each in lineage(pair, known):
            *earlier, last = each["prompt"]
            if before and earlier[: len(before)] == before:
                # The conversation goes on: what the last turn answers was said in between.
                for turn in earlier[len(before) :]:
                    console.print(f"[{turn['role']}] {_text(turn['content'], full)}", highlight=False, soft_wrap=True)
            console.print(
                f"[{each['mutation'] or 'seed'}] {_text(last['content'], full)}", highlight=False, soft_wrap=True
            )
            before = each["prompt"]
        for row in responses.filter(pl.col("prompt_id") == pair["prompt_id"]).sort("stage", "response_idx").to_dicts():
            mark = _mark(pair, row)
            text = "(no response)" if row["response"] is None else _text(row["response"], full)
            reward = "null" if row["reward"] is None else f"{row['reward']:z.3f}"
            console.print(f"  {mark} {reward}  {text}", highlight=False, soft_wrap=True)


def print_consensus(console: Console, store: Store, iteration: int) -> None:
    """Print how often the consensus of an iteration is right; nothing if its reward is no consensus."""
    found = precision_of(store, [each for each in store.iterations() if each <= iteration])
    if found is None or iteration not in found.voted["iteration"]:
        return
    table = Table(title="How often the consensus is right, by prompts with a known answer", title_justify="left")
    for column in ("depth", "agreement", "with a consensus", "anchors", "consensus right"):
        table.add_column(column, justify="right")
    for row in found.by_agreement.filter(pl.col("iteration") == iteration).to_dicts():
        right = interval(row["right"], row["labelled"]) or "unknown"
        depth, agreed, labelled = (f"{row[name]}" for name in ("depth", "agreed", "labelled"))
        # A cell of brackets would be read as a command of rich.
        table.add_row(depth, span(row["agreement"]), agreed, labelled, Text(right))
    console.print(table)
    for alarm in found.alarms:
        console.print(f"ALARM: {alarm}", highlight=False, markup=False, soft_wrap=True)


def _text(text: str, full: bool) -> str:
    """A text of the tables for a terminal."""
    text = text.replace("\r\n", "\n")
    return (text if full else cut(text, LONGEST, LINES)).replace("\n", "\n    | ")


def _mark(pair: Mapping[str, Any], response: Mapping[str, Any]) -> str:
    """The role of a response in its prompt's pair, in eight characters.

    A rewritten response has the index of its original, so the text tells which of the two is in the pair.
    """
    sides = {pair["chosen_idx"]: "chosen", pair["rejected_idx"]: "rejected"}
    side = sides.get(response["response_idx"])
    if side is None:
        return " " * 8
    if response["response"] != pair[side][-1]["content"]:
        return "rewrite " if response["stage"] == "rewrite" else "original"
    return f"{side:<8}"
