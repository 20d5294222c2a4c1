"""The dataset on disk: a folder with the layout of the Hub repo, and its working state in `.eva`.

<folder>/README.md                    card; its YAML lists configs and splits for load_dataset
<folder>/<config>/iter_t.parquet      one file per table and iteration; a large one is iter_t-00001-of-00003.parquet ...
<folder>/<config>/iter_t.r1.parquet   a table that people's verdicts, or a retry, changed in the first revision
<folder>/manifests/iter_t.json        what made the iteration, with the SHA-256 of every file; written last
<folder>/manifests/iter_t.r1.json     the same for a revision; it lists files of the build too
<folder>/licences/iter_t.json         under which licence it was made public, and why; written by `publish`
<folder>/.eva/                        ledger, lock, jobs, trained solvers, logs; private to its owner, never published
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from eva_data.dataset.boundary import own_folder, refuse_links_out
from eva_data.dataset.checked import Checked, remembered
from eva_data.dataset.manifest import FileEntry, Manifest, read_manifest, refuse_newer
from eva_data.dataset.ordered import Table, height_of, in_order
from eva_data.errors import DataError, LockedError, StaleError
from eva_data.files import sha256, write_json, write_shards
from eva_data.secrets import redact_file, redacted
from eva_data.tables.schemas import TABLES, read_table

SHARD_BYTES = 400_000_000
"""A table beyond this size goes on in another file, as the Hub recommends."""


@dataclass(frozen=True)
class Store:
    """A dataset folder.

    Revision 0 of an iteration is its build. Later revisions merge people's verdicts into it, or ask again what a server
    had given up on. The newest revision of each iteration is read, unless `at` chooses another.
    """

    folder: Path
    pinned: tuple[tuple[int, int], ...] = ()
    """Pairs (iteration, revision) for iterations that are not read at their newest revision."""
    checks: bool = True
    """Whether a table is compared with its hash in the manifest before it is read."""

    def at(self, iteration: int, revision: int) -> Store:
        """The same folder, but this iteration is read at this revision."""
        others = tuple(pin for pin in self.pinned if pin[0] != iteration)
        return replace(self, pinned=(*others, (iteration, revision)))

    @property
    def state(self) -> Path:
        return self.folder / ".eva"

    def solver_folder(self, iteration: int) -> Path:
        """The folder of theta_t, once it is trained."""
        return self.state / "solvers" / f"iter_{iteration}"

    @property
    def pull_folder(self) -> Path:
        """The folder where downloads wait until all are checked. It exists as long as a pull is not finished."""
        return self.state / "pull"

    def checked(self) -> AbstractContextManager[Checked]:
        """The remembered hashes of this folder's files."""
        return remembered(self.state / "checked.json")

    def log(self, name: str) -> Path:
        return self.state / "logs" / f"{name}.log"

    def job_folder(self, iteration: int, name: str) -> Path:
        return self.state / "jobs" / f"iter_{iteration}" / name

    def work_folder(self, iteration: int) -> Path:
        """Where the tables of an iteration lie while it is built, as far as they do not fit into memory."""
        return self.state / f"tables-iter_{iteration}"

    def table_files(self, name: str, iteration: int) -> list[Path]:
        """The files of a table of a finished iteration, in order; none if the table has no rows."""
        return [self.folder / file for file in self.manifest(iteration).files if file.startswith(f"{name}/")]

    def manifest_path(self, iteration: int) -> Path:
        return self.folder / "manifests" / f"{stem_of(iteration, self.revision(iteration))}.json"

    def iterations(self) -> list[int]:
        """The finished iterations, ascending."""
        found = (self.folder / "manifests").glob("iter_*.json")
        return sorted(int(path.stem.removeprefix("iter_")) for path in found if path.stem[5:].isdigit())

    def revisions(self, iteration: int) -> list[int]:
        """The revisions of an iteration, ascending; the first is 0, the build."""
        prefix = f"iter_{iteration}.r"
        found = (path.stem.removeprefix(prefix) for path in (self.folder / "manifests").glob(f"{prefix}*.json"))
        return [0, *sorted(int(number) for number in found if number.isdigit())]

    def revision(self, iteration: int) -> int:
        """The revision at which an iteration is read."""
        return dict(self.pinned).get(iteration, self.revisions(iteration)[-1])

    def manifest(self, iteration: int) -> Manifest:
        """The manifest of a finished iteration. Raise StaleError if there is none, DataError if its format is newer."""
        path = self.manifest_path(iteration)
        try:
            return refuse_newer(read_manifest(path), path)
        except FileNotFoundError:
            raise StaleError(
                f"{self.folder} has no iteration {iteration}: make it with `eva-data build --iter {iteration}`"
            ) from None

    def scan(self, name: str, iteration: int) -> pl.LazyFrame:
        """A table of a finished iteration, lazily, in its full schema. A table without a file has no rows.

        Raise DataError if a file is missing, differs from its hash in the manifest, or has columns that no release
        wrote.
        """
        if self.checks:
            self.refuse_changed(iteration, [name])
        files = self.table_files(name, iteration)
        if not files:
            return pl.LazyFrame(schema=TABLES[name])
        for path in files:
            if not path.exists():
                file = str(path.relative_to(self.folder))
                raise DataError(f"the table {path} is missing: {self.remedy(file, iteration)}")
        return read_table(pl.scan_parquet(files, glob=False), name, ", ".join(map(str, files)))

    def scan_until(self, name: str, iteration: int) -> pl.LazyFrame:
        """A table of all finished iterations up to and with `iteration`."""
        return pl.concat([self.scan(name, earlier) for earlier in self.iterations() if earlier <= iteration])

    def refuse_changed(self, iteration: int, tables: Collection[str] = TABLES) -> None:
        """Raise DataError if a file of these tables is missing or differs from its hash in the manifest."""
        files = self.manifest(iteration).files
        with self.checked() as checked:
            for name in (name for name in files if name.partition("/")[0] in tables):
                path = self.folder / name
                try:
                    found = checked.sha256(path)
                except FileNotFoundError:
                    raise DataError(f"the table {path} is missing: {self.remedy(name, iteration)}") from None
                except OSError as error:
                    raise DataError(
                        f"the table {path} cannot be read ({error.strerror}): {self.remedy(name, iteration)}"
                    ) from None
                if found != files[name].sha256:
                    raise DataError(
                        f"the table {path} is not the file that iteration {iteration} was built with, by its SHA-256: "
                        f"{self.remedy(name, iteration)}"
                    )

    def remedy(self, name: str, iteration: int) -> str:
        """How to get a file of an iteration's tables back; `name` is its path in the folder."""
        revised = re.search(rf"/iter_{iteration}\.r(\d+)[.-]", name)
        manifest = self.at(iteration, int(revised[1]) if revised else 0).manifest_path(iteration)
        if revised:
            again = f"`eva-data review pull --iter {iteration}` or `eva-data build --iter {iteration} --retry-rejects`"
            return f"restore it, or remove {manifest} and make it anew with {again}, whichever made it"
        return (
            f"restore it, or remove {manifest} and make it anew with `eva-data build --iter {iteration}`, which takes "
            "finished calls from the ledger"
        )

    def write_iteration(
        self, manifest: Manifest, tables: Mapping[str, Table], *, shard_bytes: int = SHARD_BYTES
    ) -> Manifest:
        """Write all tables in canonical order, then the manifest with their hashes. Its rename is the commit.

        Of a table that is scanned, a bounded part is in memory. A table without rows has no file, since `load_dataset`
        fails on a split without rows.
        """
        files = self._write_tables(stem_of(manifest.iteration, 0), tables, shard_bytes)
        return self._seal(manifest, files, revision=0)

    def built(self, iteration: int) -> int:
        """The newest revision that a build made, not people: 0, or that of the last retry."""
        found = (number for number in reversed(self.revisions(iteration)[1:]))
        return next((each for each in found if self.at(iteration, each).manifest(iteration).review is None), 0)

    def write_rebuilt(self, manifest: Manifest, tables: Mapping[str, Table]) -> Manifest:
        """Write an iteration that was built again as a revision, and return its manifest.

        Tables that are as in the newest build keep their files.
        """
        iteration, number = manifest.iteration, self.revisions(manifest.iteration)[-1] + 1
        before = self.at(iteration, self.built(iteration)).manifest(iteration).files
        files: dict[str, FileEntry] = {}
        for name, table in tables.items():
            there = {file: entry for file, entry in before.items() if file.startswith(f"{name}/")}
            written = self._write_tables(stem_of(iteration, number), {name: table}, SHARD_BYTES)
            if [entry.sha256 for entry in written.values()] == [entry.sha256 for entry in there.values()]:
                for file in written:
                    (self.folder / file).unlink()
                written = there
            files |= written
        return self._seal(manifest.model_copy(update={"revision": number}), files, revision=number)

    def write_revision(self, iteration: int, tables: Mapping[str, Table], **changes: Any) -> Manifest:
        """Write the tables that differ from the newest build, then the revision's manifest, and return it.

        `changes` are the fields in which the manifest differs from the build's. Existing files are not written again.
        """
        built = self.at(iteration, self.built(iteration)).manifest(iteration)
        number = self.revisions(iteration)[-1] + 1
        kept = {name: entry for name, entry in built.files.items() if name.partition("/")[0] not in tables}
        files = kept | self._write_tables(stem_of(iteration, number), tables, SHARD_BYTES)
        return self._seal(built.model_copy(update=changes | {"revision": number}), files, revision=number)

    def _seal(self, manifest: Manifest, files: Mapping[str, FileEntry], *, revision: int) -> Manifest:
        sealed = manifest.model_copy(update={"files": dict(files)})
        write_json(self.at(manifest.iteration, revision).manifest_path(manifest.iteration), redacted(sealed.values()))
        return sealed

    def _write_tables(self, stem: str, tables: Mapping[str, Table], shard_bytes: int) -> dict[str, FileEntry]:
        """Write each table under one name, and return what the manifest says about the files."""
        files: dict[str, FileEntry] = {}
        with self.checked() as checked:
            for name, table in tables.items():
                parts = in_order(table.lazy(), name)
                path = self.folder / name / f"{stem}.parquet"
                for left in (path, *path.parent.glob(f"{stem}-*-of-*.parquet")):
                    left.unlink(missing_ok=True)
                if height_of(table) == 0:
                    continue
                for shard in write_shards(path, (part.to_arrow() for part in parts), shard_bytes):
                    files[str(shard.relative_to(self.folder))] = FileEntry(
                        sha256=checked.sha256(shard), rows=pq.read_metadata(shard).num_rows, bytes=shard.stat().st_size
                    )
        return files

    def changed_files(self, iteration: int, *, afresh: bool = False) -> list[str]:
        """Files of an iteration, in all its revisions, that are missing or differ from the manifests.

        `afresh` reads every file, even if its hash is remembered.
        """
        files: dict[str, FileEntry] = {}
        for revision in self.revisions(iteration):
            files |= self.at(iteration, revision).manifest(iteration).files
        with self.checked() as checked:
            hash_of = sha256 if afresh else checked.sha256
            return [name for name, entry in files.items() if _hash(hash_of, self.folder / name) != entry.sha256]

    def refuse_half_pulled(self) -> None:
        """Raise StaleError if a pull into this folder was cut off or refused."""
        if self.pull_folder.exists():
            raise StaleError(
                f"a pull into {self.folder} is not finished: repeat `eva-data pull`, or remove {self.pull_folder} to "
                "go on with what is there"
            )

    @contextmanager
    def locked(self, *, pulling: bool = False) -> Iterator[None]:
        """Lock the folder for this process. Raise LockedError at once if another process holds it.

        The kernel keeps the lock: it is free as soon as its holder ends, however it ends. Raise DataError if a link
        leads out of the folder, and StaleError, unless `pulling`, if a pull is not finished.
        """
        refuse_links_out(self.folder)
        if not pulling:
            self.refuse_half_pulled()
        self._tidy()
        lock = FileLock(self.state / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise LockedError(
                f"another eva-data is at work in {self.folder}: wait for it, or use another folder with "
                "`--set folder=...`"
            ) from None
        try:
            yield
        finally:
            self._tidy()
            lock.release()

    def _tidy(self) -> None:
        """Close the working state to others, and redact secrets in its logs, which other programs write."""
        own_folder(self.state)
        for log in (self.state / "logs").glob("*.log"):
            redact_file(log)


def _hash(hash_of: Callable[[Path], str], path: Path) -> str | None:
    """The hash of a file; None if it is missing or cannot be read."""
    try:
        return hash_of(path)
    except (OSError, ValueError):
        # ValueError: no file can have such a name.
        return None


def stem_of(iteration: int, revision: int) -> str:
    """The names of a revision's files, without their suffix."""
    return f"iter_{iteration}.r{revision}" if revision else f"iter_{iteration}"
