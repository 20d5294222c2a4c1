"""The answers of the local page: a file with one line per answer, which only its owner can read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eva_data.dataset.store import Store
from eva_data.errors import DataError, ReviewError
from eva_data.method.verdicts import QUALITIES, VERDICTS
from eva_data.review.record import Record

LONGEST_COMMENT = 10_000


class LocalAnswer(BaseModel):
    """One answer of one reviewer to one pair. The newest of them counts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pair_id: str
    content: str
    order: str
    reviewer: str
    status: Literal["submitted", "discarded"]
    verdict: str | None = None
    """One of VERDICTS; None in a discarded answer."""
    prompt_quality: str | None = None
    """One of QUALITIES; None if it was not answered."""
    comment: str | None = Field(None, max_length=LONGEST_COMMENT)
    told: Literal["votes", "full"] = "votes"
    """What the reviewer was told will be published."""
    updated_at: str = Field(default_factory=lambda: datetime.now(UTC).isoformat())

    @model_validator(mode="after")
    def _answers_the_questions(self) -> LocalAnswer:
        if self.verdict not in (*VERDICTS, None) or (self.status == "submitted" and self.verdict is None):
            raise ValueError(f"a submitted answer has a verdict: one of {', '.join(VERDICTS)}")
        if self.prompt_quality not in (*QUALITIES, None):
            raise ValueError(f"`prompt_quality` is one of {', '.join(QUALITIES)}, or null")
        return self


def answers_path(store: Store, iteration: int) -> Path:
    return store.state / "reviews" / f"local_iter_{iteration}.jsonl"


def add_answer(path: Path, answer: LocalAnswer) -> None:
    """Append an answer. After the return it is on the disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    torn = path.exists() and path.stat().st_size > 0 and not _ends_whole(path)
    with open(os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "ab") as file:
        file.write(b"\n" * torn + answer.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_answers(path: Path) -> list[LocalAnswer]:
    """All answers, the oldest first; none if there is no file. A line that a kill cut short is left out.

    Raise DataError if a whole line is no answer.
    """
    if not path.exists():
        return []
    found: list[LocalAnswer] = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            values = json.loads(line)
        except ValueError:
            # A kill cuts a line short, and the next answer begins a new one.
            continue
        try:
            found.append(LocalAnswer.model_validate(values))
        except ValidationError as error:
            said = error.errors(include_url=False, include_input=False)[0]["msg"]
            raise DataError(f"line {number} of {path} is no answer of a reviewer ({said}): remove it") from None
    return found


def newest(answers: Iterable[LocalAnswer]) -> dict[tuple[str, str], LocalAnswer]:
    """(reviewer, pair) -> the last answer."""
    return {(each.reviewer, each.pair_id): each for each in answers}


def records_of(answers: Iterable[LocalAnswer], publish: str) -> list[Record]:
    """The answers as records like those of an Argilla server, from which `answers` collects them.

    Raise ReviewError if `publish` is full and a reviewer was told that only votes are published.
    """
    found: dict[tuple[str, str, str], Record] = {}
    for answer in newest(answers).values():
        if publish == "full" and answer.told == "votes":
            raise ReviewError(
                "the reviewers were told that their answers and comments stay with you, and `review.publish` is "
                "`full`: set it to `votes`, or ask them and let them answer anew"
            )
        shown = answer.pair_id, answer.content, answer.order
        record = found.setdefault(
            shown,
            {
                "external_id": f"{answer.pair_id}.{answer.content}",
                "metadata": {"content": answer.content, "order": answer.order},
                "responses": [],
            },
        )
        record["responses"].append(_response(answer))
    return list(found.values())


def _response(answer: LocalAnswer) -> Mapping[str, Any]:
    values = {name: getattr(answer, name) for name in ("verdict", "prompt_quality", "comment")}
    return {
        "user_id": f"local:{answer.reviewer}",
        "status": answer.status,
        "values": {name: {"value": value} for name, value in values.items() if value is not None},
        "updated_at": answer.updated_at,
    }
