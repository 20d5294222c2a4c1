"""Under which licence a revision was published, what that was compared with, and why it is allowed.

A manifest is sealed when its iteration is built, and the licence is chosen later. So this record lies beside the
manifest, as `licences/iter_t.json`, and names it by its SHA-256. The commit that publishes a revision to a public repo
holds it too.
"""

from __future__ import annotations

from eva_data.dataset.manifest import Record, Sha256
from eva_data.dataset.records.beside import parse_beside
from eva_data.dataset.store import stem_of

FORMAT = 1
"""Version of the record. A newer version is refused."""
FOLDER = "licences"
"""Folder of the records."""
MOST_BYTES = 1_000_000
"""The largest record that is read; a real record has about a thousand bytes."""


class LicenceRow(Record):
    """What texts or verdicts come from."""

    role: str
    """`seeds`, `solver`, `creator`, `contrast`, `reward` or `judge`."""
    name: str
    licence: str | None
    """By the Hub's name; None if nobody states it."""
    terms: str | None = None
    """Where further terms are written, a URL or words; None if none are known."""


class LicenceRecord(Record):
    """The licence of a published revision of an iteration."""

    format: int = FORMAT
    manifest: Sha256
    """The SHA-256 of the revision's manifest."""
    licence: str
    """The licence under which the revision was published, by the Hub's name."""
    reason: str | None
    """Why it is allowed although a source's licence is stricter or unknown, in the publisher's words; None without."""
    sources: tuple[LicenceRow, ...]
    """The sources of this iteration and of the iterations before it."""


def record_name(iteration: int, revision: int) -> str:
    """The path of a record in the dataset's folder and in the repo."""
    return f"{FOLDER}/{stem_of(iteration, revision)}.json"


def parse_licence_record(content: bytes, name: str) -> LicenceRecord:
    """The record in `content`, which a stranger may have written. Raise DataError, with `name`, if it holds none."""
    remedy = "restore it, or remove it and publish again"
    return parse_beside(content, name, LicenceRecord, FORMAT, "record of a licence", remedy)
