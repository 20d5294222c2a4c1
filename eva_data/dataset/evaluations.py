"""The evaluations of a dataset: rows by solver in `evaluations/`, and the record in `manifests/evaluations.json`.

<folder>/evaluations/theta_t.parquet     every verdict about theta_t; `model.parquet` of models not trained here
<folder>/manifests/evaluations.json      what was compared, by which judges, with the SHA-256 of every file
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

from eva_data.dataset.manifest import FileEntry, Record
from eva_data.dataset.records.beside import parse_beside, read_settled, settle, write_waiting
from eva_data.dataset.store import Store
from eva_data.errors import DataError
from eva_data.files import write_json
from eva_data.secrets import redacted
from eva_data.tables.redaction import without_secrets
from eva_data.tables.schemas import EVALUATION_KEY, EVALUATIONS, empty

FOLDER = "evaluations"
RECORD = "manifests/evaluations.json"
EVALUATIONS_FORMAT = 1
"""Version of the record. A newer version is refused."""
_AGAIN = "remove {} and evaluate again, which takes finished calls from the ledger"

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
    length_name: str | None = None
    style_controlled: Ends = None
    style: dict[str, float] | None = None
    probabilities: float | None = None
    people: dict[str, float | None] | None = None
    not_comparable: list[str] | None = None
    contamination: dict[str, Any] | None = None
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
    references_hash: str = ""
    """Hash of the reference answers and checklists that the judge sees; empty without any."""
    own_template: bool = False
    """Whether the question to the judge is from a file of the user's."""
    answers_of: str | None = None
    """Whose answers the file of the other side holds, as its column `generator` or `model` says; None if unknown."""
    gamed: str | None = None
    """Name and hash of the file of gamed baselines, which length control needs and the dataset does not hold."""
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
    alarms: tuple[str, ...] = ()
    """Sentences on several comparisons together; `verify` recomputes them."""
    files: dict[FileName, FileEntry] = Field(default_factory=dict)


def read_record(store: Store) -> EvaluationRecord | None:
    """The record of a dataset; None if nothing was evaluated. Raise DataError if it cannot be read."""
    path = store.folder / RECORD
    if not path.exists():
        return None
    return parse_record(path.read_bytes(), str(path))


def parse_record(content: bytes, name: str) -> EvaluationRecord:
    """The record in `content`. Raise DataError if there is none, or if its version is newer."""
    remedy = f"restore it, or {_AGAIN.format('it')}"
    return parse_beside(content, name, EvaluationRecord, EVALUATIONS_FORMAT, "record of evaluations", remedy)


def read_rows(store: Store, record: EvaluationRecord | None = None) -> pl.DataFrame:
    """EVALUATIONS of all comparisons. Raise DataError if a file is missing or differs from the record."""
    if record is None:
        record = read_record(store)
    if record is None or not record.files:
        return empty(EVALUATIONS)
    table = pl.concat(
        read_settled(store, record.files, EVALUATIONS, f"restore it, or {_AGAIN.format(store.folder / RECORD)}")
    )
    endless = table.filter(~pl.col("score").is_finite()).height
    if endless:
        raise DataError(
            f"the evaluations in {store.folder} hold {endless} scores that are no finite numbers, which eva-data never "
            "writes: restore them, or evaluate again"
        )
    return table


Conclude = Callable[[Sequence[Compared], pl.DataFrame], tuple[str, ...]]
"""Gives the alarms of all comparisons and their rows."""


def _no_alarm(compared: Sequence[Compared], rows: pl.DataFrame) -> tuple[str, ...]:
    return ()


def keep(
    store: Store, version: str, compared: Sequence[Compared], rows: pl.DataFrame, conclude: Conclude = _no_alarm
) -> EvaluationRecord:
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
        files[name] = write_waiting(store, name, part)
    order = sorted((*others, *compared), key=_place)
    alarms = conclude(order, together)
    record = EvaluationRecord(eva_data=version, evaluations=tuple(order), alarms=alarms, files=files)
    write_json(store.folder / RECORD, redacted(record.model_dump(mode="json")))
    settle(store, record.files)
    return record


def _place(each: Compared) -> tuple[str, int, str]:
    return each.set, -1 if each.theta is None else each.theta, each.key


def split_of(theta: Any) -> str:
    """The split, and file name, of the evaluations of theta_t, or of models that were not trained here."""
    return "model" if theta is None else f"theta_{theta}"


def splits(record: EvaluationRecord) -> Mapping[str, str]:
    """Split -> file, of the card's list of configs."""
    return {Path(name).stem: name for name in sorted(record.files)}
