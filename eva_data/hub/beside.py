"""Files beside the iterations on the Hub: a record that names them, published and pulled as commits of their own.

They are made after their iterations, and more are added later. So they are not part of an iteration's tag. Each publish
of new files is one commit on main, with a tag of its own that counts up.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import pyarrow as pa

from eva_data.dataset.manifest import FileEntry
from eva_data.dataset.store import Store
from eva_data.errors import DataError, HubError
from eva_data.files import sha256
from eva_data.foreign import visible
from eva_data.hub.claims import GB, claimed_bytes
from eva_data.hub.repo import HubRepo, Snapshot
from eva_data.tables.reading.unpacked import parquet_bytes

RECORD_BYTES = 20_000_000
"""The largest record that is read. eva-data writes no larger record."""


class Names(Protocol):
    """A record of files beside the iterations."""

    @property
    def files(self) -> Mapping[str, FileEntry]: ...


R = TypeVar("R", bound=Names)


@dataclass(frozen=True)
class NewFiles:
    """The files beside the iterations that a publish sends."""

    files: dict[str, Path]
    tag: str


@dataclass(frozen=True)
class Waiting:
    """The files beside the iterations that a pull brings."""

    record: str
    files: Mapping[str, FileEntry]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the record last."""
        return (*self.files, self.record) if self.record else ()

    @property
    def bytes(self) -> int:
        """What the files claim to have, by their sizes and rows."""
        return claimed_bytes(self.files)


@dataclass(frozen=True)
class Beside(Generic[R]):
    """A kind of files beside the iterations."""

    record: str
    """The record's place in the folder and in the repo."""
    tag: str
    """What its tags begin with."""
    parse: Callable[[bytes, str], R]
    """Reads a record, by its content and its name in errors."""
    read: Callable[[Store, R], object]
    """Reads all files of a record. Raises DataError if one is not as the record says."""
    lost: Callable[[HubRepo, R, R], str | None]
    """What the repo's record (the first) has and ours lacks, as a sentence; None if nothing would vanish."""

    def new(self, store: Store, hub: HubRepo, found: Snapshot | None, tags: Iterable[str]) -> NewFiles | None:
        """The files that the repo does not hold; None if there are none.

        Raise DataError if a file differs from the record, and HubError if the repo holds what this folder lacks, since
        it would vanish.
        """
        path = store.folder / self.record
        if not path.exists():
            return None
        record = self.parse(path.read_bytes(), str(path))
        if not record.files:
            return None
        self.read(store, record)
        files = {name: store.folder / name for name in (*record.files, self.record)}
        missing = {name: local for name, local in files.items() if found is None or not found.holds(name, local)}
        if not missing:
            return None
        if found is not None and self.record in found.files:
            with tempfile.TemporaryDirectory() as folder:
                theirs = self._fetch_record(hub, found, Path(folder))
            if lost := self.lost(hub, theirs, record):
                raise HubError(lost)
        return NewFiles(missing, _next_tag(self.tag, tags))

    def agreed(self, hub: HubRepo, found: Snapshot, store: Store, downloads: Path, max_bytes: float) -> Waiting:
        """Download the record to `downloads` and compare it with the repo.

        There is nothing if the repo has none, or if the folder has such files, which stay as they are. Raise DataError
        if the record differs from what the repo holds, and HubError if its files are larger than `max_bytes`.
        """
        if self.record not in found.files or (store.folder / self.record).exists():
            return Waiting("", {})
        record = self._fetch_record(hub, found, downloads)
        for name, entry in record.files.items():
            if name not in found.files or found.sizes[name] != entry.bytes:
                raise DataError(f"{self.record} of {hub.name} names {name}, which the repo does not hold as it says")
        waiting = Waiting(self.record, record.files)
        if waiting.bytes > max_bytes:
            raise HubError(
                f"what {self.record} of {hub.name} names is larger than `--max-gb` allows: raise it to get it"
            )
        return waiting

    def fetch(self, hub: HubRepo, found: Snapshot, downloads: Path, waiting: Waiting, max_bytes: float) -> int:
        """Download the files of an agreed record to `downloads`, and return how many bytes they have unpacked.

        Everything is read and compared, so that the files only have to be moved. Raise DataError if a file differs from
        the record, and HubError if the files are larger than `max_bytes`.
        """
        unpacked = 0
        for name, entry in waiting.files.items():
            hub.download(name, found.commit, downloads)
            path = downloads / name
            if sha256(path) != entry.sha256:
                path.unlink()
                raise DataError(f"{name} of {hub.name} is not the file that its record names, by its SHA-256")
            unpacked += unpacked_bytes(hub.name, name, path, max_bytes - unpacked)
        if waiting.record:
            content = (downloads / self.record).read_bytes()
            self.read(Store(downloads), self.parse(content, f"{self.record} of {hub.name}"))
        return unpacked

    def _fetch_record(self, hub: HubRepo, found: Snapshot, downloads: Path) -> R:
        """Download the record. Raise DataError if it is larger than any record, or did not arrive whole."""
        if found.sizes[self.record] > RECORD_BYTES:
            raise DataError(
                f"{self.record} of {hub.name} has {found.sizes[self.record]:,} bytes, which no record of eva-data has"
            )
        hub.download(self.record, found.commit, downloads)
        if not found.holds(self.record, downloads / self.record):
            (downloads / self.record).unlink()
            raise DataError(f"{self.record} did not arrive as {hub.name} has it: pull again")
        return self.parse((downloads / self.record).read_bytes(), f"{self.record} of {hub.name}")


def unpacked_bytes(repo: str, name: str, path: Path, most: float) -> int:
    """The bytes that a downloaded table has unpacked.

    Raise HubError if it has more than `most`, and DataError if it is packed as no table of texts is, or is no table.
    """
    try:
        unpacked = parquet_bytes(path)
    except (pa.ArrowException, OSError) as error:
        reason = visible(" ".join(str(error).split()), longest=200)
        raise DataError(f"{name} of {repo} cannot be read as a table ({reason}): pull another revision") from None
    if unpacked > most:
        raise HubError(
            f"{name} of {repo} has {unpacked / GB:,.1f} GB unpacked, and with the files before it that is more than "
            "`--max-gb` allows: if you want that much, raise it"
        )
    return unpacked


def _next_tag(prefix: str, tags: Iterable[str]) -> str:
    """The tag `prefix-N` that follows those that are there."""
    numbers = (match[1] for tag in tags if (match := re.fullmatch(rf"{prefix}-([1-9]\d*)", tag)))
    return f"{prefix}-{max(map(int, numbers), default=0) + 1}"
