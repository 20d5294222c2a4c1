"""The ratings of prompts by one fixed model (`eva-data score`), in `prompt_scores/`, and the record that names them.

<folder>/prompt_scores/iter_t.parquet     the ratings of a sample of X_t
<folder>/manifests/prompt_scores.json     who rated, how many were drawn, with the SHA-256 of every file
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field, PositiveInt

from eva_data import __version__
from eva_data.dataset.manifest import FileEntry, Record
from eva_data.dataset.records.beside import parse_beside, read_settled, settle, write_waiting
from eva_data.dataset.store import Store, stem_of
from eva_data.files import write_json
from eva_data.secrets import redacted
from eva_data.tables.redaction import without_secrets
from eva_data.tables.schemas import PROMPT_SCORES, empty

FOLDER = "prompt_scores"
RECORD = "manifests/prompt_scores.json"
SCORES_FORMAT = 1
"""Version of the record. A newer version is refused."""

FileName = Annotated[str, Field(pattern=rf"^{FOLDER}/iter_[1-9]\d{{0,8}}\.parquet$")]
"""The path of a file of ratings in the dataset's folder."""
REMEDY = "restore it, or score again with `eva-data score`, which takes finished calls from the ledger"


class ScoreRecord(Record):
    """Who rated the prompts of which iterations."""

    format: PositiveInt = SCORES_FORMAT
    eva_data: str
    scorer: str
    """Fingerprint of the model that rated."""
    sample: PositiveInt
    """Prompts of each iteration that were rated, or all if it has fewer: those with the lowest ids."""
    files: dict[FileName, FileEntry] = Field(default_factory=dict)


def read_score_record(store: Store) -> ScoreRecord | None:
    """The record of a dataset; None if nothing was rated. Raise DataError if it cannot be read."""
    path = store.folder / RECORD
    return parse_score_record(path.read_bytes(), str(path)) if path.exists() else None


def parse_score_record(content: bytes, name: str) -> ScoreRecord:
    """The record in `content`. Raise DataError if there is none, or if its version is newer."""
    return parse_beside(content, name, ScoreRecord, SCORES_FORMAT, "record of ratings", REMEDY)


def read_scores(store: Store, record: ScoreRecord | None = None) -> pl.DataFrame:
    """PROMPT_SCORES of all iterations; no rows if nothing was rated. Raise DataError if a file differs."""
    record = record or read_score_record(store)
    if record is None or not record.files:
        return empty(PROMPT_SCORES)
    return pl.concat(read_settled(store, record.files, PROMPT_SCORES, REMEDY))


def keep_scores(store: Store, ratings: pl.DataFrame, *, scorer: str, sample: int) -> ScoreRecord:
    """Write the ratings of all iterations (PROMPT_SCORES) in the place of earlier ratings, and return the record."""
    rows = without_secrets(ratings).sort("iteration", "prompt_id")
    files = {
        f"{FOLDER}/{stem_of(int(iteration), 0)}.parquet": part
        for (iteration,), part in rows.partition_by("iteration", as_dict=True, maintain_order=True).items()
    }
    entries = {name: write_waiting(store, name, part) for name, part in files.items()}
    record = ScoreRecord(eva_data=__version__, scorer=scorer, sample=sample, files=entries)
    write_json(store.folder / RECORD, redacted(record.model_dump(mode="json")))
    settle(store, entries)
    return record


def score_splits(record: ScoreRecord) -> Mapping[str, str]:
    """Split -> file, of the card's list of configs."""
    return {Path(name).stem: name for name in record.files}
