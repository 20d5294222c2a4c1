"""Sends pairs to reviewers. Each is a record of the iteration's Argilla dataset, with its responses in blind order.

The name of a record is its `pair_id`, so a push that is repeated, or was cut off, adds only missing records. An answer
stays with the texts that the reviewer saw: a record with answers never gets other texts or another order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from eva_data.dataset.ordered import by_themselves, height_of, id_of, in_memory
from eva_data.dataset.staleness import config_of
from eva_data.errors import DataError, ReviewError
from eva_data.iteration.run import Run
from eva_data.jobs.job import Progress
from eva_data.review import display
from eva_data.review.blind import Order, blind_order, choose
from eva_data.review.connection import Argilla, connect
from eva_data.review.dataset import dataset_name, ensure_dataset
from eva_data.review.record import Record, Sheet, change_of, records_by_pair
from eva_data.review.spare import spare_parts
from eva_data.tables.metrics import column_of
from eva_data.tables.ranges import ranges_for
from eva_data.tables.schemas import PREFERENCES

AT_ONCE = 20_000
"""Rows among which the texts of some are looked up together."""

BATCH_RECORDS = 100
BATCH_CHARACTERS = 2_000_000
"""Most records per call, and most characters per call unless a single record has more."""


@dataclass(frozen=True)
class Pushed:
    """The result of a push."""

    name: str
    workspace: str
    url: str
    """URL of the reviewers' page."""
    chosen: int
    """Number of pairs that were chosen."""
    added: int
    changed: int
    """Records that got other metadata or suggestions, or, if they had no answer, other texts."""
    renewed: int
    """Records that were added beside a record of the same pair with answers to other texts."""


def push(
    run: Run,
    iteration: int,
    *,
    limit: int,
    order: Order = "informativeness",
    suggest: bool = False,
    min_submitted: int | None = None,
) -> Pushed:
    """Push at most `limit` pairs of an iteration's build to the Argilla server of the settings.

    `suggest` shows, pre-selected, which response the reward prefers. Raise StaleError if the iteration is not built,
    DataError if its tables were changed or hold no such pair, and the errors of `connect`.
    """
    config, store = run.config, run.store
    manifest = store.at(iteration, store.built(iteration)).manifest(iteration)
    chosen = chosen_pairs(run, iteration, limit, order)
    rows = chosen.to_dicts()
    with connect(config.review) as argilla:
        name = dataset_name(config, iteration)
        dataset = ensure_dataset(argilla, name, min_submitted or config.review.min_submitted, config.review.publish)
        questions = {each["name"]: each["id"] for each in argilla.get(f"datasets/{dataset['id']}/questions")["items"]}
        there = records_by_pair(argilla.records(dataset["id"]))
        sheet = Sheet(
            parents={
                prompt: display.conversation(turns, markdown=config.review.markdown)
                for prompt, turns in parents_of(run, iteration, chosen).items()
            },
            markdown=config.review.markdown,
            question_id=questions["verdict"],
            agent=_agent(manifest.models.reward or "reward") if suggest else None,
        )
        if not suggest:
            _withdraw_suggestions(argilla, [record for row in rows for record in there.get(row["pair_id"], [])])
        changes = [change_of(row, there.get(row["pair_id"], []), sheet) for row in rows]
        _send(argilla, dataset["id"], changes, run.reporter.stage("push", iteration))
        kinds = [kind for kind, _ in changes]
        return Pushed(
            name=name,
            workspace=argilla.workspace,
            url=f"{argilla.url}/dataset/{dataset['id']}/annotation-mode",
            chosen=len(rows),
            added=kinds.count("added"),
            changed=kinds.count("changed"),
            renewed=kinds.count("renewed"),
        )


def chosen_pairs(run: Run, iteration: int, limit: int, order: Order) -> pl.DataFrame:
    """The pairs to review, with the `order` in which a pair is shown if nobody has seen it yet.

    Raise StaleError if the iteration is not built, and DataError if its tables were changed or hold no such pair.
    """
    store = run.store
    built = store.at(iteration, store.built(iteration))
    settings = config_of(built.manifest(iteration))
    if changed := store.changed_files(iteration):
        raise DataError(
            f"{', '.join(changed)} in {store.folder} was changed or lost since iteration {iteration} was built, so it "
            "is not reviewed: restore it"
        )
    metric, seed = column_of(settings.estimate.metric), settings.seed
    if order == "rejects":
        chosen = choose(spare_parts(built, settings, iteration), order, limit, metric=metric, seed=seed)
    else:
        pairs = built.scan("preferences", iteration)
        numbers = in_memory(pairs.select("pair_id", "score_chosen", "score_rejected", metric))
        first = choose([numbers], order, limit, metric=metric, seed=seed).select("pair_id")
        chosen = first.join(_rows_of(pairs, first), on="pair_id", how="left", maintain_order="left")
        chosen = chosen.select(PREFERENCES.names())
    if chosen.is_empty():
        what = "rejected pairs with two different responses" if order == "rejects" else "pairs"
        raise DataError(f"iteration {iteration} has no {what}, so there is nothing to review")
    return chosen.with_columns(order=blind_order(settings.seed))


def _rows_of(pairs: pl.LazyFrame, wanted: pl.DataFrame) -> pl.DataFrame:
    """The rows of some pairs, of which a scan finds a range of prompts at a time."""
    is_wanted = pl.col("pair_id").is_in(wanted["pair_id"].implode())
    parts = ranges_for(height_of(pairs), AT_ONCE)
    return pl.concat([by_themselves(in_memory(part.of(pairs).filter(is_wanted))) for part in parts])


def _agent(model: str) -> str:
    """A model's name in the characters that the server allows."""
    return re.sub(r"[^a-zA-Z0-9_:./-]", "-", model)[:200]


def parents_of(run: Run, iteration: int, pairs: pl.DataFrame) -> dict[str, list[dict[str, str]]]:
    """Id of a parent prompt -> its turns."""
    ids = pairs["parent_id"].drop_nulls().unique()
    found: dict[str, list[dict[str, str]]] = {}
    if ids.is_empty():
        return found
    for name in ("prompts", "evolutions"):
        for earlier in (each for each in run.store.iterations() if each <= iteration):
            table = run.store.scan(name, earlier)
            for part in ranges_for(height_of(table), AT_ONCE):
                named = part.of(table, id_of(name)).select("prompt_id", "prompt").drop_nulls("prompt")
                rows = in_memory(named.filter(pl.col("prompt_id").is_in(ids.implode())))
                found = dict(rows.unique("prompt_id", keep="first", maintain_order=True).iter_rows()) | found
    return found


def _withdraw_suggestions(argilla: Argilla, records: Sequence[Record]) -> None:
    """Remove the suggestions of an earlier push, since a record that is sent without suggestions keeps the old ones."""
    for record in records:
        if record["suggestions"]:
            argilla.call("PATCH", f"records/{record['id']}", json={"suggestions": []})
            record["suggestions"] = []


def _send(argilla: Argilla, dataset_id: str, changes: Sequence[tuple[str, Record]], on_progress: Progress) -> None:
    wanted = [record for kind, record in changes if kind != "kept"]
    done = len(changes) - len(wanted)
    on_progress(done, len(changes))
    for batch in _batches(wanted):
        try:
            argilla.call("PUT", f"datasets/{dataset_id}/records/bulk", json={"items": batch})
        except ReviewError as error:
            if error.status != 404:
                raise
            raise ReviewError(
                f"the dataset was deleted on the server after {done} of {len(changes)} records: push again to make it "
                "anew; answers that were pulled before are kept",
                404,
            ) from None
        done += len(batch)
        on_progress(done, len(changes))


def _batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    batch: list[Record] = []
    characters = 0
    for record in records:
        size = sum(map(len, record["fields"].values()))
        if batch and (len(batch) == BATCH_RECORDS or characters + size > BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(record)
        characters += size
    if batch:
        yield batch
