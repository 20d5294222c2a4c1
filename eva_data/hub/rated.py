"""Publishes and pulls the ratings of prompts by a fixed model, as commits of their own beside the iterations.

Ratings are made after their iterations. Each publish of new ratings is one commit on main, with a tag
`prompt-scores-1`, `prompt-scores-2`, ...
"""

from __future__ import annotations

from eva_data.dataset.records.prompt_scores import (
    RECORD,
    ScoreRecord,
    parse_score_record,
    read_score_record,
    read_scores,
)
from eva_data.dataset.store import Store
from eva_data.errors import HubError
from eva_data.hub.evaluated import NewFiles, content_of, fetch_files, fetch_record, lacking, next_tag
from eva_data.hub.repo import HubRepo, Snapshot


def new_ratings(store: Store, hub: HubRepo, found: Snapshot | None, tags: list[str]) -> NewFiles | None:
    """The ratings that the repo does not hold; None if there are none.

    Raise DataError if a file differs from the record, and HubError if the repo holds ratings that would vanish.
    """
    record = read_score_record(store)
    if record is None or not record.files:
        return None
    read_scores(store, record)
    missing = lacking(store, found, (*record.files, RECORD))
    if not missing:
        return None
    if found is not None and RECORD in found.files:
        _refuse_losses(hub, found, record)
    return NewFiles(missing, next_tag("prompt-scores", tags))


def _refuse_losses(hub: HubRepo, found: Snapshot, record: ScoreRecord) -> None:
    """Raise HubError if the published ratings are by another model, or of more prompts or iterations than ours."""
    theirs = parse_score_record(content_of(hub, found, RECORD), f"{RECORD} of {hub.name}")
    if theirs.scorer == record.scorer and theirs.sample <= record.sample and theirs.files.keys() <= record.files.keys():
        return
    raise HubError(
        f"{hub.name} holds ratings by {theirs.scorer} of {theirs.sample} prompts of {len(theirs.files)} iterations, "
        f"and those here are by {record.scorer} of {record.sample} prompts of {len(record.files)}, so some would be "
        "lost: score as there with `score.model` and `score.sample`, or publish to another repo with `--repo`"
    )


def fetch_ratings(hub: HubRepo, found: Snapshot, store: Store, *, max_bytes: float) -> tuple[str, ...]:
    """Download the ratings of a repo beside the dataset, and return their files, the record last.

    There are none if the repo has none, or if the folder has ratings, which stay as they are. Everything is read and
    compared here, so that the files only have to be moved. Raise DataError if the record or a file differs from what
    the repo says, and HubError if more than `max_bytes` would be downloaded.
    """
    if RECORD not in found.files or (store.folder / RECORD).exists():
        return ()
    record = parse_score_record(fetch_record(hub, found, store, RECORD), f"{RECORD} of {hub.name}")
    fetch_files(hub, found, store, RECORD, record.files, max_bytes)
    read_scores(Store(store.pull_folder), record)
    return (*record.files, RECORD)
