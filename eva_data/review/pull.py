"""Brings people's verdicts back as a new revision of an iteration, beside its build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from eva_data.dataset.compose import rejects_by_reason
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import height_of, in_memory
from eva_data.dataset.staleness import config_of
from eva_data.dataset.store import Store, stem_of
from eva_data.errors import ReviewError, StaleError
from eva_data.iteration.run import Run
from eva_data.method.verdicts import COUNTED, merge, votes_of
from eva_data.report.card import write_card
from eva_data.review.agreement import figures
from eva_data.review.answers import (
    answers,
    in_order,
    is_single,
    keep_answers,
    kept_answers,
    key_file,
    key_id,
    reviewers_key,
)
from eva_data.review.connection import Argilla, connect
from eva_data.review.dataset import dataset_name, find_dataset, refuse_broken_word, refuse_other_dataset
from eva_data.review.record import Record, records_by_pair
from eva_data.review.spare import is_among, spare_pairs
from eva_data.tables.flow import Flow


@dataclass(frozen=True)
class PulledReviews:
    """The result of a pull."""

    name: str
    revision: int
    """The newest revision now."""
    new: bool
    """Whether this pull made the revision."""
    figures: Mapping[str, Any]
    outdated: int


def pull_reviews(run: Run, iteration: int) -> PulledReviews:
    """Merge all known answers about an iteration into a new revision, unless they change nothing.

    The answers are those on the Argilla server of the settings, and those that were pulled before. Raise StaleError if
    the iteration is not built, and the errors of `connect`. Raise ReviewError if there is no dataset on the server, if
    answers behind the newest revision are neither on this machine nor on the server, or if the answers are to be
    published although the reviewers were told otherwise.
    """
    store, name = run.store, dataset_name(run.config, iteration)
    store.at(iteration, store.built(iteration)).manifest(iteration)
    with connect(run.config.review) as argilla:
        dataset = find_dataset(argilla, name)
        if dataset is None:
            raise _missing(argilla, store, iteration, name)
        refuse_other_dataset(argilla, dataset)
        refuse_broken_word(dataset, run.config.review.publish)
        records = argilla.records(dataset["id"])
    return merge_reviews(run, iteration, records)


def merge_reviews(run: Run, iteration: int, records: Sequence[Record]) -> PulledReviews:
    """Merge the answers in records, and those that were pulled before, into a new revision, unless they change nothing.

    Raise StaleError if the iteration is not built, and ReviewError if answers behind the newest revision are nowhere.
    """
    store, publish = run.store, run.config.review.publish
    manifest = store.at(iteration, store.built(iteration)).manifest(iteration)
    name = dataset_name(run.config, iteration)
    with store.locked():
        key, known = reviewers_key(store, make=True), pl.concat(reviewable(store, iteration, records_by_pair(records)))
        found = answers(store, iteration, known, records, name=manifest.config["name"], key=key)
        if found.lost:
            raise _elsewhere(store, iteration, found.lost)
        new, summary = add_revision(store, iteration, found.reviews, before=found.before, publish=publish, key=key)
        if store.revision(iteration):
            # The last pull may have been cut off before the card was written.
            write_card(store, run.config.publish.licence)
    return PulledReviews(name, store.revision(iteration), new, summary, found.outdated)


def add_revision(
    store: Store,
    iteration: int,
    reviews: pl.DataFrame,
    *,
    before: pl.DataFrame | None = None,
    publish: Literal["votes", "full"] = "votes",
    key: bytes | None = None,
) -> tuple[bool, dict[str, Any]]:
    """Write a revision of an iteration by these REVIEWS. Return whether one was written, and the numbers of `figures`.

    The revision's table has votes, and the single answers go to `.eva`. With `publish` full, the table has the answers.
    `before` are the answers behind the newest revision, as `answers` gives them. `key` is the secret of the pseudonyms.
    No revision is written if the newest revision says the same, or if there is no revision and nobody has submitted an
    answer yet.
    """
    built = store.at(iteration, store.built(iteration))
    pairs, spare = reviewable(store, iteration, reviews["pair_id"])
    manifest, reviews = built.manifest(iteration), in_order(reviews)
    summary = figures(pairs, spare, reviews, manifest.config["estimate"]["metric"])
    newest, last = in_order(store.scan("reviews", iteration).collect()), store.revisions(iteration)[-1]
    if before is None:
        before = kept_answers(store, iteration, key).answers
    table = reviews if publish == "full" else votes_of(reviews)
    if last == 0 and reviews.filter(COUNTED).is_empty():
        return False, summary
    if table.equals(newest) or (publish == "full" and is_single(newest) and reviews.equals(in_order(before))):
        if publish == "votes" and last and not reviews.equals(in_order(before)):
            keep_answers(store, iteration, last, reviews)
        return False, summary
    if publish == "votes":
        keep_answers(store, iteration, last + 1, reviews)
    tables = revised(built.scan("preferences", iteration), spare, built.scan("rejects", iteration), reviews, iteration)
    tables |= {"reviews": table.lazy()}
    which_key = {"reviewers_key": key_id(key)} if key else {}
    store.write_revision(iteration, tables, **_changes(manifest, tables, summary | which_key))
    return True, summary


def reviewable(
    store: Store, iteration: int, pair_ids: Iterable[str] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The pairs of an iteration's build, and rejected pairs that people may review too (`spare_pairs`).

    With `pair_ids`, only these pairs are read into memory.
    """
    built = store.at(iteration, store.built(iteration))
    spare = spare_pairs(built, config_of(built.manifest(iteration)), iteration, pair_ids)
    return in_memory(built.scan("preferences", iteration).filter(is_among(pair_ids))), spare


def revised(
    pairs: pl.LazyFrame, spare: pl.DataFrame, rejects: pl.LazyFrame, reviews: pl.DataFrame, iteration: int
) -> dict[str, pl.LazyFrame]:
    """`preferences` and `rejects` of a revision: what `merge` makes of a build's, in no order.

    Only the rows of reviewed prompts are in memory. `spare` are the rejected pairs among the reviewed ones.
    """
    reviewed = reviews.lazy().select("prompt_id").unique()

    def of_others(table: pl.LazyFrame) -> pl.LazyFrame:
        return table.join(reviewed, on="prompt_id", how="anti", maintain_order="left")

    def theirs(table: pl.LazyFrame) -> pl.DataFrame:
        return in_memory(table.join(reviewed, on="prompt_id", how="semi", maintain_order="left"))

    merged = merge(theirs(pairs), spare, theirs(rejects), reviews, iteration=iteration)
    return {
        "preferences": pl.concat([of_others(pairs), merged.preferences.lazy()]),
        "rejects": pl.concat([of_others(rejects), merged.rejects.lazy()]),
    }


def _changes(built: Manifest, tables: Mapping[str, pl.LazyFrame], summary: Mapping[str, Any]) -> dict[str, Any]:
    """The fields in which a revision's manifest differs from the build's."""
    rejects, pairs = tables["rejects"], height_of(tables["preferences"])
    by_people = height_of(rejects.filter(pl.col("stage") == "review"))
    flow = Flow("review", "pairs", pairs + by_people, pairs, by_people)
    changed = {"pairs": pairs, "rejects": height_of(rejects), "rejects_by_reason": rejects_by_reason(rejects)}
    return {
        "counts": built.counts.model_copy(update=changed),
        "flow": (*built.flow, flow),
        "review": dict(summary),
    }


def _missing(argilla: Argilla, store: Store, iteration: int, name: str) -> ReviewError | StaleError:
    newest = store.scan("reviews", iteration).select(pl.col("votes").fill_null(1).sum()).collect().item()
    kept = f"; the {newest} answers that were pulled before are kept" if newest else ""
    return ReviewError(
        f"there is no dataset {name} in the workspace {argilla.workspace} of {argilla.url}{kept}: push it with "
        f"`eva-data review push --iter {iteration}`, or name its `--workspace`",
        404,
    )


def _elsewhere(store: Store, iteration: int, lost: int) -> ReviewError:
    which = stem_of(iteration, store.revision(iteration))
    return ReviewError(
        f"{which} in {store.folder} has {lost} votes of answers that are neither here nor on the server, so a revision "
        f"without them would lose them: pull on the machine that made it, or bring its {store.state.name}/reviews and "
        f"{key_file(store).name} here"
    )
