"""Publishes and pulls evaluations, the rows by solver and the record that names them, as commits of their own.

Evaluations are made after their iterations, and more are added later. So they are not part of an iteration's tag. Each
publish of new evaluations is one commit on main, with a tag `evaluations-1`, `evaluations-2`, ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from eva_data.dataset.evaluations import RECORD, EvaluationRecord, parse_record, read_record, read_rows
from eva_data.dataset.store import Store
from eva_data.errors import DataError, HubError
from eva_data.files import sha256
from eva_data.hub.claims import ROW_BYTES
from eva_data.hub.repo import HubRepo, Snapshot

_TAG = re.compile(r"evaluations-([1-9]\d*)")

RECORD_BYTES = 20_000_000
"""The largest record that is read. eva-data writes no larger record."""


@dataclass(frozen=True)
class NewEvaluations:
    """The files that a publish of evaluations sends."""

    files: dict[str, Path]
    tag: str


def new_evaluations(store: Store, hub: HubRepo, found: Snapshot | None, tags: list[str]) -> NewEvaluations | None:
    """The evaluations that the repo does not hold; None if there are none.

    Raise DataError if a file differs from the record, and HubError if the repo holds comparisons that this folder
    lacks, since they would vanish.
    """
    record = read_record(store)
    if record is None or not record.files:
        return None
    read_rows(store, record)
    files = {name: store.folder / name for name in (*record.files, RECORD)}
    missing = {name: path for name, path in files.items() if found is None or not found.holds(name, path)}
    if not missing:
        return None
    if found is not None and RECORD in found.files:
        _refuse_losses(hub, found, record)
    last = max((int(match[1]) for tag in tags if (match := _TAG.fullmatch(tag))), default=0)
    return NewEvaluations(missing, f"evaluations-{last + 1}")


def _refuse_losses(hub: HubRepo, found: Snapshot, record: EvaluationRecord) -> None:
    """Raise HubError if the published record has a comparison that our record lacks."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        hub.download(RECORD, found.commit, Path(folder))
        theirs = parse_record((Path(folder) / RECORD).read_bytes(), f"{RECORD} of {hub.name}")
    ours = {each.key for each in record.evaluations}
    lost = [each for each in theirs.evaluations if each.key not in ours]
    if lost:
        raise HubError(
            f"{hub.name} holds {len(lost)} comparisons that are not here, such as {lost[0].solver_name} on "
            f"{lost[0].set}, and they would be lost: get them with `eva-data pull {hub.name}`, or publish to another "
            "repo with `--repo`"
        )


def fetch_evaluations(hub: HubRepo, found: Snapshot, store: Store, *, max_bytes: float) -> tuple[str, ...]:
    """Download the evaluations of a repo beside the dataset, and return their files, the record last.

    There are none if the repo has none, or if the folder has evaluations, which stay as they are. Everything is read
    and compared here, so that the files only have to be moved. Raise DataError if the record or a file differs from
    what the repo says, and HubError if more than `max_bytes` would be downloaded.
    """
    if RECORD not in found.files or (store.folder / RECORD).exists():
        return ()
    if found.sizes[RECORD] > RECORD_BYTES:
        raise DataError(f"{RECORD} of {hub.name} has {found.sizes[RECORD]:,} bytes, which no record of eva-data has")
    downloads = store.pull_folder
    hub.download(RECORD, found.commit, downloads)
    if not found.holds(RECORD, downloads / RECORD):
        (downloads / RECORD).unlink()
        raise DataError(f"{RECORD} did not arrive as {hub.name} has it: pull again")
    record = parse_record((downloads / RECORD).read_bytes(), f"{RECORD} of {hub.name}")
    for name, entry in record.files.items():
        if name not in found.files or found.sizes[name] != entry.bytes:
            raise DataError(f"{RECORD} of {hub.name} names {name}, which the repo does not hold as it says")
    if sum(max(entry.bytes, entry.rows * ROW_BYTES) for entry in record.files.values()) > max_bytes:
        raise HubError(f"the evaluations of {hub.name} are larger than `--max-gb` allows: raise it to get them")
    for name, entry in record.files.items():
        hub.download(name, found.commit, downloads)
        if sha256(downloads / name) != entry.sha256:
            (downloads / name).unlink()
            raise DataError(f"{name} of {hub.name} is not the file that its record names, by its SHA-256")
    read_rows(Store(downloads), record)
    return (*record.files, RECORD)
