"""A ledger as parquet segments, which can be copied, kept in object storage, and merged into other ledgers.

<folder>/ledger-<id>.json            the segments that the ledger of this id has written, with their hashes
<folder>/completions-<hash>.parquet  finished calls, sorted by key
<folder>/rewards-<hash>.parquet      scored texts, sorted by key
<folder>/bills-<hash>.parquet        what the ledger's own replies cost; bills that it imported stay with their ledger
<folder>/canaries-<hash>.parquet     the first answers of servers

A segment is named by its content and never changes. Each ledger writes a list of its own, so that several may write to
one folder at once. A list is written last, so that a process that is killed leaves at most files that no list names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from eva_data.errors import DataError
from eva_data.files import sha256, write_json
from eva_data.ledger.records import Ledger

if TYPE_CHECKING:
    import polars as pl

ROWS = 200_000
"""Most rows of a segment. One segment is imported in one transaction."""
_FORMAT = 1
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


def export_ledger(ledger: Ledger, folder: Path) -> Transferred:
    """Write what the folder does not hold yet. Nothing is written if there is nothing new.

    Raise DataError if a list in the folder is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lists = read_lists(folder)
    me = ledger.identity()
    mine = lists.get(me, SegmentList(ledger=me))
    present = [each for found in lists.values() for each in found.segments]
    written: list[Segment] = []
    for kind in ("completions", "rewards", "canaries"):
        files = [folder / each.file for each in present if each.kind == kind]
        for rows in _new_rows(ledger, kind, files):
            written.append(_write(folder, me, kind, rows))
    last = mine.last_bill
    while bills := ledger.own_bills(after=last, most=ROWS):
        last = bills[-1][0]
        written.append(_write(folder, me, "bills", [row[1:] for row in bills]))
    if written:
        known = {each.file for each in mine.segments}
        segments = [*mine.segments, *(each for each in written if each.file not in known)]
        updated = SegmentList(ledger=me, last_bill=last, segments=segments)
        write_json(folder / f"ledger-{me}.json", updated.model_dump(mode="json"))
    return _counted(written)


def import_ledger(ledger: Ledger, folder: Path) -> Transferred:
    """Add the segments that this ledger has neither written nor imported, each in one transaction.

    A call that the ledger holds already keeps its answer. Raise DataError if the folder holds no list, or if a list or
    a segment is damaged, missing or of another shape; the segments before it stay imported.
    """
    lists = read_lists(folder)
    if not lists:
        raise DataError(f"{folder} holds no `ledger-*.json`: name a folder that `eva-data ledger export` has written")
    me, before = ledger.identity(), ledger.imported()
    found = {each.sha256: each for name, one in lists.items() if name != me for each in one.segments}
    done, conflicting = list[Segment](), 0
    for segment in (each for digest, each in found.items() if digest not in before):
        rows = _read(folder, segment)
        conflicting += ledger.add_segment(segment.kind, segment.sha256, rows)
        done.append(segment)
    moved = _counted(done)
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
    for rows in ledger.batches(kind, ROWS):
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
        waiting += rows
        while len(waiting) >= ROWS:
            yield waiting[:ROWS]
            waiting = waiting[ROWS:]
    if waiting:
        yield waiting


def _write(folder: Path, ledger: str, kind: str, rows: Sequence[Sequence[Any]]) -> Segment:
    import polars as pl

    # Other ledgers may write to the folder at the same time.
    temporary = folder / f".{kind}-{ledger}.new"
    pl.DataFrame(rows, schema=_schema(kind), orient="row").write_parquet(temporary, compression="zstd")
    digest = sha256(temporary)
    name = f"{kind}-{digest[:16]}.parquet"
    temporary.chmod(0o600)
    temporary.replace(folder / name)
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
