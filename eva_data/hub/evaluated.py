"""Publishes and pulls evaluations, the rows by solver and the record that names them, as commits of their own.

Evaluations are made after their iterations, and more are added later. So they are not part of an iteration's tag. Each
publish of new evaluations is one commit on main, with a tag `evaluations-1`, `evaluations-2`, ...
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from eva_data.dataset.evaluations import RECORD, EvaluationRecord, parse_record, read_record, read_rows
from eva_data.dataset.manifest import FileEntry
from eva_data.dataset.store import Store
from eva_data.errors import DataError, HubError
from eva_data.files import sha256
from eva_data.hub.claims import ROW_BYTES
from eva_data.hub.repo import HubRepo, Snapshot

RECORD_BYTES = 20_000_000
"""The largest record that is read. eva-data writes no larger record."""


@dataclass(frozen=True)
class NewFiles:
    """The files beside the iterations that a publish sends."""

    files: dict[str, Path]
    tag: str


def new_evaluations(store: Store, hub: HubRepo, found: Snapshot | None, tags: list[str]) -> NewFiles | None:
    """The evaluations that the repo does not hold; None if there are none.

    Raise DataError if a file differs from the record, and HubError if the repo holds comparisons that this folder
    lacks, since they would vanish.
    """
    record = read_record(store)
    if record is None or not record.files:
        return None
    read_rows(store, record)
    missing = lacking(store, found, (*record.files, RECORD))
    if not missing:
        return None
    if found is not None and RECORD in found.files:
        _refuse_losses(hub, found, record)
    return NewFiles(missing, next_tag("evaluations", tags))


def lacking(store: Store, found: Snapshot | None, names: Iterable[str]) -> dict[str, Path]:
    """The files of these names that the repo does not hold as they are here."""
    files = {name: store.folder / name for name in names}
    return {name: path for name, path in files.items() if found is None or not found.holds(name, path)}


def next_tag(prefix: str, tags: Iterable[str]) -> str:
    """The tag `prefix-N` that follows those that are there."""
    numbers = (match[1] for tag in tags if (match := re.fullmatch(rf"{prefix}-([1-9]\d*)", tag)))
    return f"{prefix}-{max(map(int, numbers), default=0) + 1}"


def _refuse_losses(hub: HubRepo, found: Snapshot, record: EvaluationRecord) -> None:
    """Raise HubError if the published record has a comparison that our record lacks."""
    theirs = parse_record(content_of(hub, found, RECORD), f"{RECORD} of {hub.name}")
    ours = {each.key for each in record.evaluations}
    lost = [each for each in theirs.evaluations if each.key not in ours]
    if lost:
        raise HubError(
            f"{hub.name} holds {len(lost)} comparisons that are not here, such as {lost[0].solver_name} on "
            f"{lost[0].set}, and they would be lost: get them with `eva-data pull {hub.name}`, or publish to another "
            "repo with `--repo`"
        )


def content_of(hub: HubRepo, found: Snapshot, name: str) -> bytes:
    """The content of a file of the repo."""
    with tempfile.TemporaryDirectory() as folder:
        hub.download(name, found.commit, Path(folder))
        return (Path(folder) / name).read_bytes()


def fetch_evaluations(hub: HubRepo, found: Snapshot, store: Store, *, max_bytes: float) -> tuple[str, ...]:
    """Download the evaluations of a repo beside the dataset, and return their files, the record last.

    There are none if the repo has none, or if the folder has evaluations, which stay as they are. Everything is read
    and compared here, so that the files only have to be moved. Raise DataError if the record or a file differs from
    what the repo says, and HubError if more than `max_bytes` would be downloaded.
    """
    if RECORD not in found.files or (store.folder / RECORD).exists():
        return ()
    record = parse_record(fetch_record(hub, found, store, RECORD), f"{RECORD} of {hub.name}")
    fetch_files(hub, found, store, RECORD, record.files, max_bytes)
    read_rows(Store(store.pull_folder), record)
    return (*record.files, RECORD)


def fetch_record(hub: HubRepo, found: Snapshot, store: Store, name: str) -> bytes:
    """Download a record to where a pull waits, and return its content.

    Raise DataError if it is larger than any record, or did not arrive whole.
    """
    if found.sizes[name] > RECORD_BYTES:
        raise DataError(f"{name} of {hub.name} has {found.sizes[name]:,} bytes, which no record of eva-data has")
    downloaded = store.pull_folder / name
    hub.download(name, found.commit, store.pull_folder)
    if not found.holds(name, downloaded):
        downloaded.unlink()
        raise DataError(f"{name} did not arrive as {hub.name} has it: pull again")
    return downloaded.read_bytes()


def fetch_files(
    hub: HubRepo, found: Snapshot, store: Store, record: str, files: Mapping[str, FileEntry], max_bytes: float
) -> None:
    """Download the files that a record names to where a pull waits.

    Raise DataError if a file differs from the record, and HubError if together they are larger than `max_bytes`.
    """
    for name, entry in files.items():
        if name not in found.files or found.sizes[name] != entry.bytes:
            raise DataError(f"{record} of {hub.name} names {name}, which the repo does not hold as it says")
    if sum(max(entry.bytes, entry.rows * ROW_BYTES) for entry in files.values()) > max_bytes:
        raise HubError(f"what {record} of {hub.name} names is larger than `--max-gb` allows: raise it to get it")
    for name, entry in files.items():
        hub.download(name, found.commit, store.pull_folder)
        if sha256(store.pull_folder / name) != entry.sha256:
            (store.pull_folder / name).unlink()
            raise DataError(f"{name} of {hub.name} is not the file that its record names, by its SHA-256")
