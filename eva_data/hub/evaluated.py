"""Publishes and pulls evaluations, the rows by solver and the record that names them, as commits of their own.

Evaluations are made after their iterations, and more are added later. So they are not part of an iteration's tag. Each
publish of new evaluations is one commit on main, with a tag `evaluations-1`, `evaluations-2`, ...
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eva_data.dataset.evaluations import FOLDER, RECORD, EvaluationRecord, parse_record, read_record, read_rows
from eva_data.dataset.manifest import FileEntry
from eva_data.dataset.store import Store
from eva_data.errors import DataError, HubError
from eva_data.files import sha256
from eva_data.hub.repo import HubRepo, Snapshot

_FILE = re.compile(rf"{FOLDER}/(theta_\d{{1,9}}|model)\.parquet")

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


def pull_evaluations(hub: HubRepo, found: Snapshot, store: Store, *, max_bytes: float) -> int:
    """Bring the evaluations of a repo into the folder, and return the number of downloaded files.

    Existing evaluations stay as they are. Raise DataError if the record or a file differs from what the repo says, and
    HubError if more than `max_bytes` would be downloaded.
    """
    if RECORD not in found.files or (store.folder / RECORD).exists():
        return 0
    record = parse_record(record_of(hub, found, store, RECORD), f"{RECORD} of {hub.name}")
    bring(hub, found, store, RECORD, record.files, _FILE, max_bytes)
    # Everything is read before any file is moved into the folder.
    read_rows(Store(store.pull_folder), record)
    return take(store, (*record.files, RECORD))


def record_of(hub: HubRepo, found: Snapshot, store: Store, name: str) -> bytes:
    """The content of a record, downloaded to where a pull waits. Raise DataError if it is larger than any record."""
    if found.sizes[name] > RECORD_BYTES:
        raise DataError(f"{name} of {hub.name} has {found.sizes[name]:,} bytes, which no record of eva-data has")
    hub.download(name, found.commit, store.pull_folder)
    return (store.pull_folder / name).read_bytes()


def bring(
    hub: HubRepo,
    found: Snapshot,
    store: Store,
    record: str,
    files: Mapping[str, FileEntry],
    names: re.Pattern[str],
    max_bytes: float,
) -> None:
    """Download the files that a record names to where a pull waits.

    Raise DataError if a name does not match `names`, or a file differs from the record, and HubError if together they
    are larger than `max_bytes`.
    """
    for name, entry in files.items():
        if not names.fullmatch(name) or name not in found.files or found.sizes[name] != entry.bytes:
            raise DataError(f"{record} of {hub.name} names {name[:100]}, which the repo does not hold as it says")
    if sum(entry.bytes for entry in files.values()) > max_bytes:
        raise HubError(f"what {record} of {hub.name} names is larger than `--max-gb` allows: raise it to get it")
    for name, entry in files.items():
        hub.download(name, found.commit, store.pull_folder)
        if sha256(store.pull_folder / name) != entry.sha256:
            raise DataError(f"{name} of {hub.name} is not the file that its record names, by its SHA-256")


def take(store: Store, names: Sequence[str]) -> int:
    """Move downloaded files to their places, the record last, and return the number of the other files."""
    for name in names:
        (store.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (store.pull_folder / name).replace(store.folder / name)
    return len(names) - 1
