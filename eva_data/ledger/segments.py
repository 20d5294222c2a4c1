"""A ledger as parquet segments, which can be copied, kept in object storage, and merged into other ledgers.

<folder>/ledger-<id>.json            the segments that the ledger of this id has written, with their hashes
<folder>/completions-<hash>.parquet  finished calls, sorted by key
<folder>/rewards-<hash>.parquet      scored texts, sorted by key
<folder>/bills-<hash>.parquet        what the ledger's own replies cost; bills that it imported stay with their ledger
<folder>/canaries-<hash>.parquet     the first answers of servers

A segment is named by its content and never changes. Each ledger writes a list of its own, so that several may write to
one folder at once. A list is written after each segment, so that a process that is killed leaves at most one file that
no list names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eva_data.errors import DataError
from eva_data.files import lack_of_room, sha256, write_json
from eva_data.ledger.records import Ledger
from eva_data.ledger.texts import unpacked

if TYPE_CHECKING:
    import polars as pl

ROWS = 200_000
"""Most rows of a segment. One segment is imported in one transaction."""
TEXT_CHARACTERS = 100_000_000
"""Characters of completions after which a segment ends, so that one segment fits into memory."""
_READ = 20_000
"""Rows that are read from the ledger together."""
_FORMAT = 1
Tell = Callable[[int, int], None]
"""Is told how much is done, and of how much."""
_NAME = r"(completions|rewards|bills|canaries)-[0-9a-f]{16}\.parquet"


class Segment(BaseModel):
    """One file of a list."""

    model_config = ConfigDict(extra="forbid", strict=True)

    file: str = Field(pattern=f"^{_NAME}$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rows: int = Field(ge=1)

    @property
    def kind(self) -> str:
        return self.file.partition("-")[0]


class SegmentList(BaseModel):
    """What one ledger has written to a folder."""

    model_config = ConfigDict(extra="forbid", strict=True)

    format: int = _FORMAT
    ledger: str = Field(pattern=r"^[0-9a-f]{32}$")
    last_bill: int = Field(0, ge=0)
    """The last bill that is in a segment; later ones are new."""
    segments: list[Segment] = []


@dataclass(frozen=True)
class Transferred:
    """What an export wrote, or what an import added."""

    segments: int = 0
    completions: int = 0
    rewards: int = 0
    bills: int = 0
    conflicting: int = 0
    """Calls that the ledger holds with another answer; its own is kept."""


def export_ledger(ledger: Ledger, folder: Path, on_progress: Tell | None = None) -> Transferred:
    """Write what the folder does not hold yet. Nothing is written if there is nothing new.

    The list is written after each segment, so that a process that is killed loses one segment at most. One segment is
    in memory. `on_progress` is told (rows, all rows).

    Raise DataError if a list in the folder is damaged, or, after the first segment of a kind, if the disk has no room
    for the others, by the size of the first one.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lists = read_lists(folder)
    export = _Export(ledger, folder, lists, on_progress or (lambda done, total: None))
    present = [each for found in lists.values() for each in found.segments]
    for kind in ("completions", "rewards", "canaries"):
        files = [folder / each.file for each in present if each.kind == kind]
        for rows in _new_rows(ledger, kind, files):
            export.write(kind, rows)
    last = export.list.last_bill
    while bills := ledger.own_bills(after=last, most=ROWS):
        last = bills[-1][0]
        export.write("bills", [row[1:] for row in bills], last_bill=last)
    return _counted(export.written)


class _Export:
    """The segments that one export writes, and their list."""

    def __init__(self, ledger: Ledger, folder: Path, lists: Mapping[str, SegmentList], tell: Tell) -> None:
        self._me, self._folder, self._tell = ledger.identity(), folder, tell
        self.list = lists.get(self._me, SegmentList(ledger=self._me))
        self.written: list[Segment] = []
        held = _counted([each for found in lists.values() for each in found.segments])
        there = ledger.totals()
        # Where ledgers share calls, the folder holds fewer of this one's than it has rows. These are only foreseen.
        self._expected = {
            "completions": max(0, there["generations"] - held.completions),
            "rewards": max(0, there["rewards"] - held.rewards),
            "bills": ledger.rows("SELECT coalesce(max(rowid), 0) FROM bills")[0][0] - self.list.last_bill,
        }

    def write(self, kind: str, rows: Sequence[Sequence[Any]], *, last_bill: int | None = None) -> None:
        """Write a segment, and then the list with it."""
        segment = _write(self._folder, self._me, kind, rows)
        self.written.append(segment)
        known = {each.file for each in self.list.segments}
        self.list = SegmentList(
            ledger=self._me,
            last_bill=self.list.last_bill if last_bill is None else last_bill,
            segments=[*self.list.segments, *([] if segment.file in known else [segment])],
        )
        write_json(self._folder / f"ledger-{self._me}.json", self.list.model_dump(mode="json"))
        done = sum(each.rows for each in self.written)
        self._tell(done, max(done, sum(self._expected.values())))
        of_kind = [each for each in self.written if each.kind == kind]
        left = self._expected.get(kind, 0) - segment.rows
        if len(of_kind) == 1 and left > 0:
            size = (self._folder / segment.file).stat().st_size
            what = f"the rest of `eva-data ledger export`, {left:,} {kind},"
            if lack := lack_of_room(self._folder, size * left // segment.rows, what):
                raise DataError(lack)


def import_ledger(ledger: Ledger, folder: Path, on_progress: Tell | None = None) -> Transferred:
    """Add the segments that this ledger has neither written nor imported, each in one transaction.

    A call that the ledger holds already keeps its answer. Raise DataError if the folder holds no list, if the disk of
    the ledger has less room than the segments take, or if a list or a segment is damaged, missing or of another shape;
    the segments before it stay imported. `on_progress` is told (rows, all rows).
    """
    lists = read_lists(folder)
    if not lists:
        raise DataError(f"{folder} holds no `ledger-*.json`: name a folder that `eva-data ledger export` has written")
    me, before = ledger.identity(), ledger.imported()
    found = {each.sha256: each for name, one in lists.items() if name != me for each in one.segments}
    waiting = [each for digest, each in found.items() if digest not in before]
    done, conflicting, total = 0, 0, sum(each.rows for each in waiting)
    # Both keep texts compressed, so that the ledger grows by about as much.
    size = sum(path.stat().st_size for path in {folder / each.file for each in waiting} if path.exists())
    if lack := lack_of_room(ledger.path.parent, size, "`eva-data ledger import`"):
        raise DataError(lack)
    for segment in waiting:
        rows = _read(folder, segment)
        conflicting += ledger.add_segment(segment.kind, segment.sha256, rows)
        done += segment.rows
        if on_progress:
            on_progress(done, total)
    moved = _counted(waiting)
    return Transferred(moved.segments, moved.completions, moved.rewards, moved.bills, conflicting)


def read_lists(folder: Path) -> dict[str, SegmentList]:
    """Ledger id -> its list. Raise DataError, which names the file, if one is damaged or of a newer format."""
    found: dict[str, SegmentList] = {}
    for path in sorted(folder.glob("ledger-*.json")):
        try:
            each = SegmentList.model_validate_json(path.read_bytes())
        except (ValidationError, ValueError):
            raise DataError(
                f"{path} is no list of a ledger's segments, or damaged: bring it back, or delete it"
            ) from None
        if each.format != _FORMAT:
            raise DataError(f"{path} has format {each.format}, this eva-data reads {_FORMAT}: update eva-data")
        found[each.ledger] = each
    return found


def _counted(segments: Sequence[Segment]) -> Transferred:
    rows = {kind: sum(each.rows for each in segments if each.kind == kind) for kind in _SCHEMAS}
    return Transferred(len(segments), rows["completions"], rows["rewards"], rows["bills"])


_SCHEMAS: Mapping[str, str] = {
    "completions": "key Binary, text String, finish_reason String, prompt_tokens Int64, completion_tokens Int64,"
    " tokens String",
    "rewards": "key Binary, reward Float64, reason String",
    "bills": "model String, stage String, iteration Int64, completions Int64, prompt_tokens Int64,"
    " completion_tokens Int64, seconds Float64, cost Float64",
    "canaries": "model String, probe String, answers String",
}
"""Kind of segment -> its columns with their types."""


def _schema(kind: str) -> pl.Schema:
    import polars as pl

    columns = (column.split() for column in _SCHEMAS[kind].split(","))
    return pl.Schema({name: getattr(pl, of) for name, of in columns})


def _new_rows(ledger: Ledger, kind: str, files: list[Path]) -> Iterator[list[tuple[Any, ...]]]:
    """The rows of a table that no file holds, in its order, at most ROWS at a time."""
    import polars as pl

    waiting: list[tuple[Any, ...]] = []
    keys = ["model", "probe"] if kind == "canaries" else ["key"]
    characters = 0
    for rows in ledger.batches(kind, min(ROWS, _READ)):
        if files:
            # Files are sorted by key, so that most of their row groups are passed by.
            first, last = rows[0][0], rows[-1][0]
            within = pl.col(keys[0]).is_between(pl.lit(first), pl.lit(last))
            try:
                held = pl.scan_parquet(files).filter(within).select(keys).collect(engine="streaming")
            except (OSError, pl.exceptions.PolarsError) as error:
                raise DataError(
                    f"a segment in {files[0].parent} is missing or damaged ({' '.join(str(error).split())[:200]}): "
                    "bring it back, or export to another folder"
                ) from None
            known = set(held.iter_rows())
            rows = [row for row in rows if row[: len(keys)] not in known]
        if kind == "completions":
            rows = [(row[0], unpacked(row[1]), *row[2:]) for row in rows]
        characters += sum(len(row[1]) for row in rows) if kind == "completions" else 0
        if waiting and (len(waiting) + len(rows) > ROWS or characters > TEXT_CHARACTERS):
            yield waiting
            waiting, characters = [], sum(len(row[1]) for row in rows) if kind == "completions" else 0
        waiting += rows
    if waiting:
        yield waiting


def _write(folder: Path, ledger: str, kind: str, rows: Sequence[Sequence[Any]]) -> Segment:
    import polars as pl

    # Other ledgers may write to the folder at the same time.
    temporary = folder / f".{kind}-{ledger}.new"
    try:
        pl.DataFrame(rows, schema=_schema(kind), orient="row").write_parquet(temporary, compression="zstd")
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        digest = sha256(temporary)
        name = f"{kind}-{digest[:16]}.parquet"
        temporary.chmod(0o600)
        temporary.replace(folder / name)
    finally:
        temporary.unlink(missing_ok=True)
    return Segment(file=name, sha256=digest, rows=len(rows))


def _read(folder: Path, segment: Segment) -> list[tuple[Any, ...]]:
    import polars as pl

    path = folder / segment.file
    try:
        digest = sha256(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: bring it back, or export that ledger to the folder again") from None
    if digest != segment.sha256:
        raise DataError(f"{path} is not the file that was exported: bring it back, or export that ledger again")
    try:
        table = pl.read_parquet(path)
    except pl.exceptions.PolarsError:
        raise DataError(f"{path} is no parquet file, so it is no segment of a ledger: leave it out") from None
    if table.schema != _schema(segment.kind) or table.height != segment.rows or table.height > ROWS:
        raise DataError(f"{path} is no segment of a ledger, its columns or its number of rows are others: leave it out")
    return table.rows()
