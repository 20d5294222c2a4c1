"""The evaluations of a dataset: rows by solver in `evaluations/`, and the record in `manifests/evaluations.json`.

<folder>/evaluations/theta_t.parquet     every verdict about theta_t; `model.parquet` of models not trained here
<folder>/manifests/evaluations.json      what was compared, by which judges, with the SHA-256 of every file
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, field_validator

from eva_data.dataset.manifest import LONGEST_PLACE, FileEntry, Record, format_of, refuse_ambiguous
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import sha256, write_json, write_parquet
from eva_data.secrets import redacted
from eva_data.tables.redaction import without_secrets
from eva_data.tables.schemas import EVALUATION_KEY, EVALUATIONS, check, empty

FOLDER = "evaluations"
RECORD = "manifests/evaluations.json"
EVALUATIONS_FORMAT = 1
"""Version of the record. A newer version is refused."""

FileName = Annotated[str, Field(pattern=rf"^{FOLDER}/(theta_\d{{1,9}}|model)\.parquet$")]
"""The path of a file of evaluations in the dataset's folder."""
Ends = Annotated[list[float], Field(min_length=3, max_length=3)] | None
"""An estimate with the ends of its interval."""


class Told(Record):
    """The types of the figures of a comparison. A stranger may have written them, and cards and pages show them."""

    model_config = ConfigDict(extra="ignore", strict=True)

    unit: str = ""
    judged: NonNegativeInt = 0
    estimate: Ends = None
    length_controlled: Ends = None
    categories: dict[str, Ends] = Field(default_factory=dict)
    pass_at: dict[str, Ends] = Field(default_factory=dict)
    tokens: list[float | None] = Field(default_factory=list)
    truncated: list[float | None] = Field(default_factory=list)
    consistent: dict[str, float | None] = Field(default_factory=dict)
    first: dict[str, Ends] = Field(default_factory=dict)
    agreement: float | None = None
    effective_judges: float | None = None
    overlap: float | None = None
    reasons: dict[str, NonNegativeInt] = Field(default_factory=dict)
    sentence: str = ""
    warnings: list[str] = Field(default_factory=list)


class Compared(Record):
    """One comparison of a solver on a set by a rule, perhaps against another side."""

    key: str
    """The value of the column `evaluation` in the rows of the comparison."""
    set: str
    rule: str
    source: str
    """Where the rule is published."""
    solver: str
    """Fingerprint."""
    solver_name: str
    """The solver's name for the user, such as `theta_2`."""
    theta: NonNegativeInt | None = None
    against: str | None = None
    against_name: str | None = None
    judges: tuple[str, ...]
    """Fingerprints of the judges, or of the verifier."""
    prompts: NonNegativeInt
    """Number of prompts of the set."""
    prompts_hash: str
    """Hash of the ids of these prompts."""
    right: float | None = None
    """Least score of a right answer; None unless a verifier judged."""
    samples: PositiveInt = 1
    decoding: str = ""
    decoding_against: str = ""
    relatives: tuple[str, ...] = ()
    """Models that play and belong to a judge's family, with `allow_same_judge`."""
    partial: str | None = None
    """Why judging ended early; None if everything was judged."""
    figures: dict[str, Any] = Field(default_factory=dict)
    """What the rows come to, as plain values (`evaluation.figures.plain`); `verify` recomputes them."""
    notes: tuple[str, ...] = ()

    @field_validator("figures")
    @classmethod
    def _of_their_types(cls, value: dict[str, Any]) -> dict[str, Any]:
        Told.model_validate(value)
        return value


class EvaluationRecord(Record):
    """All comparisons of a dataset."""

    format: PositiveInt = EVALUATIONS_FORMAT
    eva_data: str
    evaluations: tuple[Compared, ...] = ()
    files: dict[FileName, FileEntry] = Field(default_factory=dict)


def read_record(store: Store) -> EvaluationRecord | None:
    """The record of a dataset; None if nothing was evaluated. Raise DataError if it cannot be read."""
    path = store.folder / RECORD
    if not path.exists():
        return None
    return parse_record(path.read_bytes(), str(path))


def parse_record(content: bytes, name: str) -> EvaluationRecord:
    """The record in `content`. Raise DataError if there is none, or if its version is newer."""
    remedy = "restore it, or remove it and evaluate again, which takes finished calls from the ledger"
    try:
        record = EvaluationRecord.model_validate_json(content)
        refuse_ambiguous(content)
    except DataError as error:
        raise DataError(f"{name} is no record of evaluations ({error}): {remedy}") from None
    except ValidationError as error:
        newer = format_of(content)
        if newer is not None and newer > EVALUATIONS_FORMAT:
            raise DataError(f"{name} was written by a newer eva-data (format {newer}): update eva-data") from None
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:LONGEST_PLACE] or "the whole"
        raise DataError(f"{name} is no record of evaluations (`{place}`: {first['msg']}): {remedy}") from None
    if record.format > EVALUATIONS_FORMAT:
        raise DataError(f"{name} was written by a newer eva-data (format {record.format}): update eva-data")
    return record


def read_rows(store: Store, record: EvaluationRecord | None = None) -> pl.DataFrame:
    """EVALUATIONS of all comparisons. Raise DataError if a file is missing or differs from the record."""
    if record is None:
        record = read_record(store)
    if record is None or not record.files:
        return empty(EVALUATIONS)
    _finish(store, record)
    tables = []
    for name, entry in record.files.items():
        path = store.folder / name
        if not path.is_file() or sha256(path) != entry.sha256:
            raise DataError(
                f"{path} is not the file of evaluations that the record names, by its SHA-256: restore it, or remove "
                f"{store.folder / RECORD} and evaluate again, which takes finished calls from the ledger"
            )
        tables.append(_rows_of(path, name, entry))
    return pl.concat(tables)


def _rows_of(path: Path, name: str, entry: FileEntry) -> pl.DataFrame:
    """EVALUATIONS of a file. Raise DataError if it is no such table or has another number of rows than its entry."""
    try:
        # A small file may claim to hold a thousand million rows.
        rows = pq.read_metadata(path).num_rows
        if rows != entry.rows:
            raise DataError(f"{name} has {rows} rows, and its record claims {entry.rows}: restore the record")
        table = pl.read_parquet(path, glob=False)
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{name} is no table of evaluations ({reason}): restore it, or evaluate again") from None
    check(table, EVALUATIONS, name)
    endless = table.filter(~pl.col("score").is_finite()).height
    if endless:
        raise DataError(f"{name} holds {endless} scores that are no finite numbers, which eva-data never writes")
    return table


def keep(store: Store, version: str, compared: Sequence[Compared], rows: pl.DataFrame) -> EvaluationRecord:
    """Replace earlier comparisons with the same keys and their rows, and return the record.

    New files wait in `.eva` until the record that names them is written. After a kill, the next reader moves them to
    their places.
    """
    before = read_record(store)
    keys = {each.key for each in compared}
    others = tuple(each for each in (before.evaluations if before else ()) if each.key not in keys)
    kept = read_rows(store, before).filter(~pl.col("evaluation").is_in(sorted(keys)))
    together = without_secrets(pl.concat([kept, rows.select(EVALUATIONS.names()).cast(dict(EVALUATIONS))]))  # type: ignore[arg-type]
    parts = together.sort(EVALUATION_KEY).partition_by("iteration", as_dict=True, maintain_order=True)
    files: dict[str, FileEntry] = {}
    for theta, part in parts.items():
        name = f"{FOLDER}/{split_of(theta[0])}.parquet"
        waiting = _waiting(store, name)
        digest = write_parquet(waiting, part.to_arrow())
        files[name] = FileEntry(sha256=digest, rows=part.height, bytes=waiting.stat().st_size)
    order = sorted((*others, *compared), key=_place)
    record = EvaluationRecord(eva_data=version, evaluations=tuple(order), files=files)
    write_json(store.folder / RECORD, redacted(record.model_dump(mode="json")))
    _finish(store, record)
    return record


def _place(each: Compared) -> tuple[str, int, str]:
    return each.set, -1 if each.theta is None else each.theta, each.key


def _waiting(store: Store, name: str) -> Path:
    return store.state / name


def _finish(store: Store, record: EvaluationRecord) -> None:
    """Move the waiting files that the record names to their places."""
    for name, entry in record.files.items():
        waiting = _waiting(store, name)
        if waiting.is_file() and sha256(waiting) == entry.sha256:
            (store.folder / name).parent.mkdir(exist_ok=True)
            waiting.replace(store.folder / name)


def split_of(theta: Any) -> str:
    """The split, and file name, of the evaluations of theta_t, or of models that were not trained here."""
    return "model" if theta is None else f"theta_{theta}"


def splits(record: EvaluationRecord) -> Mapping[str, str]:
    """Split -> file, of the card's list of configs."""
    return {Path(name).stem: name for name in sorted(record.files)}
