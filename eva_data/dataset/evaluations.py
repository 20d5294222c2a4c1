"""The evaluations of a dataset: rows by solver in `evaluations/`, and the record in `manifests/evaluations.json`.

<folder>/evaluations/theta_t.parquet     every verdict about theta_t; `model.parquet` of models not trained here
<folder>/manifests/evaluations.json      what was compared, by which judges, with the SHA-256 of every file
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError

from eva_data.dataset.manifest import FileEntry, Record
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


class ContaminationCheck(Record):
    """How a set was compared with what a theta was trained on."""

    key: str
    """A hash of the set's texts, the iterations, the settings and the embedding model."""
    until: PositiveInt
    """t of theta_t: the iterations 1 to t were compared."""
    texts: NonNegativeInt
    """Training texts that were compared."""
    training_prompts: NonNegativeInt
    """Prompts of these iterations that a flagged prompt repeats, or that were evolved from such a prompt."""
    ngram: PositiveInt
    """Words in a row that two texts share."""
    changed_numbers: float
    """Least Jaccard similarity without numbers."""
    by: str | None
    """The embedding models' names; `words` if words were counted in its place, None if meaning was not compared."""
    models: tuple[str, ...] = ()
    """The embedding models' fingerprints."""
    across_languages: bool = False
    """Whether texts in different languages could be compared by meaning."""
    similar: dict[str, tuple[float, float, float]] = Field(default_factory=dict)
    """Model -> the least cosine, the least margin to the next texts, and the cosine that is enough by itself."""
    notes: tuple[str, ...] = ()
    """What was not compared."""


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
    contamination: ContaminationCheck | None = None
    """How the set was compared with training texts; None if it was not, or if no side was trained here."""


class EvaluationRecord(Record):
    """All comparisons of a dataset."""

    format: PositiveInt = EVALUATIONS_FORMAT
    eva_data: str
    evaluations: tuple[Compared, ...] = ()
    files: dict[str, FileEntry] = Field(default_factory=dict)


def read_record(store: Store) -> EvaluationRecord | None:
    """The record of a dataset; None if nothing was evaluated. Raise DataError if it cannot be read."""
    path = store.folder / RECORD
    if not path.exists():
        return None
    return parse_record(path.read_bytes(), str(path))


def parse_record(content: bytes, name: str) -> EvaluationRecord:
    """The record in `content`. Raise DataError if there is none, or if its version is newer."""
    try:
        found = json.loads(content)
        if isinstance(found, dict) and isinstance(found.get("format"), int) and found["format"] > EVALUATIONS_FORMAT:
            raise DataError(f"{name} was written by a newer eva-data (format {found['format']}): update eva-data")
        return EvaluationRecord.model_validate_json(content)
    except (ValueError, ValidationError) as error:
        raise DataError(
            f"{name} is no record of evaluations ({str(error).partition(chr(10))[0]}): restore it, or remove it and "
            "evaluate again, which takes finished calls from the ledger"
        ) from None


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
        table = pl.read_parquet(path, glob=False)
        check(table, EVALUATIONS, name)
        tables.append(table)
    return pl.concat(tables)


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
