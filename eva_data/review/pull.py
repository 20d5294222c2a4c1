"""Brings people's verdicts back: a new revision of an iteration, beside the one that was built.

Read through the REST API, and tolerant of what reviewers' pages and other clients leave there: drafts, discarded
answers without values, answers to texts that the iteration does not have any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.dataset.compose import rejects_by_reason
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.staleness import config_of
from eva_data.dataset.store import Store
from eva_data.errors import ReviewError, StaleError
from eva_data.iteration.run import Run
from eva_data.method.verdicts import COUNTED, QUALITIES, VERDICTS, merge
from eva_data.report.card import write_card
from eva_data.review.agreement import figures
from eva_data.review.blind import preferred, sides
from eva_data.review.connection import Argilla, connect
from eva_data.review.dataset import dataset_name, find_dataset, refuse_other_dataset
from eva_data.review.record import Record, content_of, is_current, records_by_pair
from eva_data.review.spare import spare_pairs
from eva_data.tables.flow import Flow
from eva_data.tables.schemas import ORDER, REVIEWS

ANSWERS = pl.Schema(
    {
        "pair_id": pl.String,
        "reviewer": pl.String,
        "status": pl.String,
        "verdict": pl.String,
        "prompt_quality": pl.String,
        "comment": pl.String,
        "order": pl.String,
    }
)
"""What `answers` reads of the records: one row per (pair, reviewer)."""


@dataclass(frozen=True)
class PulledAnswers:
    """What reviewers have said about an iteration's pairs so far."""

    reviews: pl.DataFrame
    """REVIEWS: those pulled before and those on the server, which are newer."""
    outdated: int
    """PulledAnswers on the server to texts that the iteration does not have; they do not count."""


@dataclass(frozen=True)
class PulledReviews:
    """What came of a pull."""

    name: str
    revision: int
    """The newest one now."""
    new: bool
    """Whether this pull made it."""
    figures: Mapping[str, Any]
    outdated: int


def pull_reviews(run: Run, iteration: int) -> PulledReviews:
    """Merge all answers known of an iteration into a new revision, unless they change nothing.

    Raises StaleError where the iteration is not built, ReviewError where there is no dataset on the server and no
    answer has been pulled before, and what `connect` raises.
    """
    store = run.store
    manifest = store.at(iteration, 0).manifest(iteration)
    name = dataset_name(run.config, iteration)
    with connect(run.config.review) as argilla:
        dataset = find_dataset(argilla, name)
        if dataset is None:
            raise _missing(argilla, store, iteration, name)
        refuse_other_dataset(argilla, dataset)
        records = argilla.records(dataset["id"])
    with store.locked():
        found = answers(
            store, iteration, pl.concat(reviewable(store, iteration)), records, name=manifest.config["name"]
        )
        new, summary = add_revision(store, iteration, found.reviews)
        if store.revision(iteration):
            # Again, in case that the last pull was cut off before it.
            write_card(store, run.config.publish.licence)
    return PulledReviews(name, store.revision(iteration), new, summary, found.outdated)


def add_revision(store: Store, iteration: int, reviews: pl.DataFrame) -> tuple[bool, dict[str, Any]]:
    """Write a revision of an iteration that holds these REVIEWS, and return what they come to (`figures`).

    The first is false, and nothing is written, where the newest revision holds the same, or where none is there and
    nobody has submitted an answer yet.
    """
    built = store.at(iteration, 0)
    pairs, spare = reviewable(store, iteration)
    manifest, reviews = built.manifest(iteration), reviews.sort(ORDER["reviews"])
    summary = figures(pairs, spare, reviews, manifest.config["estimate"]["metric"])
    before = store.scan("reviews", iteration).collect()
    if reviews.equals(before) or (before.is_empty() and reviews.filter(COUNTED).is_empty()):
        return False, summary
    merged = merge(pairs, spare, built.scan("rejects", iteration).collect(), reviews, iteration=iteration)
    tables = {"preferences": merged.preferences, "rejects": merged.rejects, "reviews": reviews}
    store.write_revision(iteration, tables, **_changes(manifest, tables, summary))
    return True, summary


def reviewable(store: Store, iteration: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pairs of an iteration as it was built, and those that it rejected but people may judge (`spare_pairs`)."""
    built = store.at(iteration, 0)
    spare = spare_pairs(built, config_of(built.manifest(iteration)), iteration)
    return built.scan("preferences", iteration).collect(), spare


def answers(
    store: Store, iteration: int, known: pl.DataFrame, records: Sequence[Record], *, name: str
) -> PulledAnswers:
    """The answers to the pairs `known` (PREFERENCES) in an Argilla dataset's records, added to those pulled before.

    Of one reviewer and pair the newer one stands: on the server before in the store, there by time of change. `name`
    is the dataset's, which the pseudonyms belong to.
    """
    by_pair = records_by_pair([record for record in records if record["responses"]])
    wanted = {row["pair_id"]: content_of(row) for row in known.to_dicts() if row["pair_id"] in by_pair}
    rows, outdated = [], 0
    for pair, shown in by_pair.items():
        for record in shown:
            if pair in wanted and is_current(record, wanted[pair]):
                rows += [_answer(pair, record, response, name) for response in record["responses"]]
            else:
                outdated += len(record["responses"])
    rows.sort(key=lambda row: row.pop("updated_at"))
    frame = pl.DataFrame(rows, schema=ANSWERS).unique(["pair_id", "reviewer"], keep="last")
    reviews = as_reviews(frame, known, iteration)
    before = store.scan("reviews", iteration).collect()
    both = pl.concat([before, reviews]).unique(["pair_id", "reviewer"], keep="last", maintain_order=True)
    return PulledAnswers(both.sort(ORDER["reviews"]), outdated)


def as_reviews(answers: pl.DataFrame, known: pl.DataFrame, iteration: int) -> pl.DataFrame:
    """REVIEWS of answers (with the `order` in which each was asked) to pairs (PREFERENCES)."""
    first, second = sides(pl.col("order"))
    return (
        answers.join(known.select("pair_id", "prompt_id", "chosen_idx", "rejected_idx"), on="pair_id", how="inner")
        .with_columns(first_idx=first, second_idx=second, iteration=pl.lit(iteration))
        .with_columns(preferred_idx=preferred())
        .select(pl.col(column).cast(dtype) for column, dtype in REVIEWS.items())
    )


def reviewer_id(name: str, user_id: str) -> str:
    """A pseudonym: a hash of the server's random id of the user, keyed with the dataset's name.

    Nobody without access to the server can tell who it is, and it is the same on every machine that pulls.
    """
    return hashlib.blake2b(user_id.encode(), key=name.encode()[:64], digest_size=6).hexdigest()


def _answer(pair: str, record: Record, response: Mapping[str, Any], name: str) -> dict[str, Any]:
    values = response["values"] or {}
    verdict, quality, comment = (
        (values.get(question) or {}).get("value") for question in ("verdict", "prompt_quality", "comment")
    )
    return {
        "pair_id": pair,
        "reviewer": reviewer_id(name, response["user_id"]),
        "status": response["status"],
        "verdict": verdict if verdict in VERDICTS else None,
        "prompt_quality": quality if quality in QUALITIES else None,
        # The page puts a line end behind it.
        "comment": (comment or "").strip() or None,
        "order": record["metadata"]["order"],
        "updated_at": response["updated_at"],
    }


def _changes(built: Manifest, tables: Mapping[str, pl.DataFrame], summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a revision's manifest says otherwise than the build's."""
    rejects, pairs = tables["rejects"], tables["preferences"].height
    by_people = rejects.filter(pl.col("stage") == "review").height
    flow = Flow("review", "pairs", pairs + by_people, pairs, by_people)
    changed = {"pairs": pairs, "rejects": rejects.height, "rejects_by_reason": rejects_by_reason(rejects)}
    return {
        "counts": built.counts.model_copy(update=changed),
        "flow": (*built.flow, flow),
        "review": dict(summary),
    }


def _missing(argilla: Argilla, store: Store, iteration: int, name: str) -> ReviewError | StaleError:
    pulled = store.scan("reviews", iteration).select(pl.len()).collect().item()
    kept = f"; the {pulled} answers that were pulled before are kept" if pulled else ""
    return ReviewError(
        f"there is no dataset {name} in the workspace {argilla.workspace} of {argilla.url}{kept}: push it with "
        f"`eva-data review push --iter {iteration}`, or name its `--workspace`",
        404,
    )
