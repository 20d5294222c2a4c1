"""Collects reviewers' answers: the answers on the server, and earlier pulled answers, which stay on this machine.

Single answers, and the secret for the reviewers' pseudonyms, lie in `.eva`. Only the owner can read them, and they are
never published. A revision of votes has its answers in `.eva/reviews`; a revision of single answers holds them itself.
Everything that reviewers' pages and other clients leave on the server can be read: drafts, discarded answers without
values, and answers to texts that the iteration does not have any more.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.dataset.store import Store, stem_of
from eva_data.errors import DataError
from eva_data.files import write_parquet
from eva_data.method.verdicts import QUALITIES, VERDICTS, votes_of
from eva_data.review.blind import preferred, sides
from eva_data.review.record import Record, content_of, is_current, records_by_pair
from eva_data.tables.schemas import ORDER, REVIEWS, empty, read_table, table_to_write

KEY_BYTES = 32

ANSWERS = pl.Schema(
    {
        "pair_id": pl.String,
        "reviewer": pl.String,
        "status": pl.String,
        "verdict": pl.String,
        "prompt_quality": pl.String,
        "comment": pl.String,
        "votes": pl.Int32,
        "order": pl.String,
    }
)
"""What `answers` reads from the records: one row per (pair, reviewer). The votes are null."""


@dataclass(frozen=True)
class PulledAnswers:
    """The answers to an iteration's pairs so far."""

    reviews: pl.DataFrame
    """REVIEWS: the answers that were pulled before, updated by the answers on the server."""
    before: pl.DataFrame
    """REVIEWS: only the answers that were pulled before, under the same pseudonyms."""
    lost: int
    """Votes in the newest revision that come from none of these answers, because the answers are elsewhere."""
    outdated: int
    """Answers on the server to texts that the iteration does not have; they do not count."""


def answers(
    store: Store, iteration: int, known: pl.DataFrame, records: Sequence[Record], *, name: str, key: bytes
) -> PulledAnswers:
    """Add the answers in an Argilla dataset's records to the answers that were pulled before.

    `known` are the pairs (PREFERENCES). The newest answer of each reviewer to a pair counts: an answer on the server is
    newer than a pulled answer, and on the server the time of change decides. `key` is the secret of the pseudonyms.
    `name` is the name of the dataset, by which reviewers of release 0.1.0 are recognised.
    """
    by_pair = records_by_pair([record for record in records if record["responses"]])
    wanted = {row["pair_id"]: content_of(row) for row in known.to_dicts() if row["pair_id"] in by_pair}
    rows, outdated = [], 0
    for pair, shown in by_pair.items():
        for record in shown:
            if pair in wanted and is_current(record, wanted[pair]):
                rows += [_answer(pair, record, response, key) for response in record["responses"]]
            else:
                outdated += len(record["responses"])
    rows.sort(key=lambda row: row.pop("updated_at"))
    frame = pl.DataFrame(rows, schema=ANSWERS).unique(["pair_id", "reviewer"], keep="last")
    kept = kept_answers(store, iteration, key)
    users = {response["user_id"] for record in records for response in record["responses"]}
    renamed = {pseudonym_of_0_1_0(name, user): pseudonym(key, user) for user in users}
    before = kept.answers.with_columns(pl.col("reviewer").replace(renamed))
    both = pl.concat([before, as_reviews(frame, known, iteration)])
    both = both.unique(["pair_id", "reviewer"], keep="last", maintain_order=True)
    lost = 0 if kept.complete else _lost(store.scan("reviews", iteration).collect(), both)
    return PulledAnswers(in_order(both), before, lost, outdated)


def _lost(newest: pl.DataFrame, found: pl.DataFrame) -> int:
    """The number of a revision's votes beyond the answers that are found."""
    there, here = (
        votes_of(each).group_by("pair_id").agg(pl.col("votes").sum().alias(name))
        for each, name in ((newest, "there"), (found, "here"))
    )
    more = pl.col("there") - pl.col("here").fill_null(0)
    return int(there.join(here, on="pair_id", how="left").select(more.clip(0).sum()).item())


def as_reviews(answers: pl.DataFrame, known: pl.DataFrame, iteration: int) -> pl.DataFrame:
    """REVIEWS from answers to pairs (PREFERENCES). `order` says in which order the responses were shown."""
    first, second = sides(pl.col("order"))
    return (
        answers.join(known.select("pair_id", "prompt_id", "chosen_idx", "rejected_idx"), on="pair_id", how="inner")
        .with_columns(first_idx=first, second_idx=second, iteration=pl.lit(iteration))
        .with_columns(preferred_idx=preferred())
        .select(pl.col(column).cast(dtype) for column, dtype in REVIEWS.items())
    )


def _answer(pair: str, record: Record, response: Mapping[str, Any], key: bytes) -> dict[str, Any]:
    values = response["values"] or {}
    verdict, quality, comment = (
        (values.get(question) or {}).get("value") for question in ("verdict", "prompt_quality", "comment")
    )
    return {
        "pair_id": pair,
        "reviewer": pseudonym(key, response["user_id"]),
        "status": response["status"],
        "verdict": verdict if verdict in VERDICTS else None,
        "prompt_quality": quality if quality in QUALITIES else None,
        # The page appends a line end.
        "comment": (comment or "").strip() or None,
        "order": record["metadata"]["order"],
        "updated_at": response["updated_at"],
    }


@dataclass(frozen=True)
class Kept:
    """The answers that the newest revision of an iteration was made from."""

    answers: pl.DataFrame
    """REVIEWS of single answers; no rows if they are on another machine."""
    complete: bool
    """Whether these are all answers, under pseudonyms of this folder."""


def key_file(store: Store) -> Path:
    return store.state / "reviewers.key"


def reviewers_key(store: Store, *, make: bool) -> bytes:
    """The folder's secret. If there is none, draw a new one, which `make` also writes to the folder.

    Raise DataError if the file holds something else.
    """
    path = key_file(store)
    if path.exists():
        return _read_key(path)
    key = secrets.token_bytes(KEY_BYTES)
    if make:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
                file.write(key.hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
    return key


def _read_key(path: Path) -> bytes:
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DataError(
            f"{path} does not hold the {KEY_BYTES} bytes by which reviewers are told apart: restore it, or remove it, "
            "after which people who answered before count as other people"
        )
    return key


def pseudonym(key: bytes, user_id: str) -> str:
    """The pseudonym of a reviewer: a keyed hash of the user's id on the server."""
    return hashlib.blake2b(user_id.encode(), key=key, digest_size=6).hexdigest()


def pseudonym_of_0_1_0(name: str, user_id: str) -> str:
    """The pseudonym of release 0.1.0, whose key was the dataset's name, which everybody knows."""
    return pseudonym(name.encode()[:64], user_id)


def key_id(key: bytes) -> str:
    """An id of a key that does not reveal the key."""
    return hashlib.blake2b(b"which key of reviewers", key=key, digest_size=8).hexdigest()


def answers_file(store: Store, iteration: int, revision: int) -> Path:
    """The file of the single answers behind a revision of votes."""
    return store.state / "reviews" / f"{stem_of(iteration, revision)}.parquet"


def keep_answers(store: Store, iteration: int, revision: int, answers: pl.DataFrame) -> None:
    """Write the single answers behind a revision. Only the owner can read the file."""
    path = answers_file(store, iteration, revision)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    write_parquet(path, table_to_write(in_order(answers), "reviews").to_arrow())
    path.chmod(0o600)


def kept_answers(store: Store, iteration: int, key: bytes | None) -> Kept:
    """The single answers behind the newest revision, as far as they are on this machine; `key` is the secret."""
    revision = store.revision(iteration)
    if revision == 0:
        return Kept(empty(REVIEWS), True)
    table, path = store.scan("reviews", iteration).collect(), answers_file(store, iteration, revision)
    made_with = (store.manifest(iteration).review or {}).get("reviewers_key")
    ours = made_with in (None, key_id(key) if key else None)
    if ours and path.exists():
        kept = in_order(read_table(pl.scan_parquet(path), "reviews", str(path)).collect())
        return Kept(kept, votes_of(kept).equals(in_order(table)))
    if ours and is_single(table):
        return Kept(in_order(table), True)
    return Kept(empty(REVIEWS), table.is_empty())


def is_single(reviews: pl.DataFrame) -> bool:
    """Whether a table of reviews holds single answers, and not votes."""
    return reviews["reviewer"].count() > 0


def in_order(reviews: pl.DataFrame) -> pl.DataFrame:
    """The rows in the order of the table's file."""
    return reviews.sort(ORDER["reviews"], nulls_last=True, maintain_order=True)
