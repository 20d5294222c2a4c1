"""A pair as a record of Argilla: its texts and metadata, and whether an existing record still shows them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eva_data.review import display
from eva_data.review.blind import SLOT_ORDERS
from eva_data.tables.schemas import METRICS

Record = dict[str, Any]


@dataclass(frozen=True)
class Sheet:
    """What all records of a push share."""

    parents: Mapping[str, str]
    """Id of a prompt -> the text of its parent, ready for the page."""
    markdown: bool
    question_id: str
    """Id of the question for the verdict."""
    agent: str | None
    """The name of the reward model that suggests verdicts; None without suggestions."""


def records_by_pair(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Pair -> the records of a dataset that show it."""
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(str(record["external_id"]).partition(".")[0], []).append(record)
    return found


def content_of(row: Mapping[str, Any]) -> str:
    """A short hash of the texts that reviewers see of a row of PREFERENCES, whatever the order of the responses."""
    responses = sorted(json.dumps(row[side], sort_keys=True) for side in ("chosen", "rejected"))
    return hashlib.sha256(json.dumps([row["prompt"], *responses], sort_keys=True).encode()).hexdigest()[:8]


def is_current(record: Record, content: str) -> bool:
    """Whether a record shows the texts with that hash in a known order."""
    metadata = record["metadata"] or {}
    return metadata.get("content") == content and metadata.get("order") in SLOT_ORDERS


def change_of(row: Mapping[str, Any], there: Sequence[Record], sheet: Sheet) -> tuple[str, Record]:
    """What to do with a pair's record (added, changed, renewed or kept), and the record."""
    content = content_of(row)
    current = next((record for record in there if is_current(record, content)), None)
    if current is not None:
        new = _record({**row, "order": current["metadata"]["order"]}, content, sheet)
        new["external_id"] = current["external_id"]
        return ("kept" if _same(current, new) else "changed"), new
    new = _record(row, content, sheet)
    same_name = next((record for record in there if record["external_id"] == row["pair_id"]), None)
    if same_name is None:
        return "added", new
    if same_name["responses"]:
        return "renewed", new | {"external_id": f"{row['pair_id']}.{content}"}
    return "changed", new


def _record(row: Mapping[str, Any], content: str, sheet: Sheet) -> Record:
    first, second = ("chosen", "rejected") if row["order"] == SLOT_ORDERS[0] else ("rejected", "chosen")
    texts = {slot: row[side][-1]["content"] for slot, side in (("first", first), ("second", second))}
    fields = {"prompt": display.conversation(row["prompt"], markdown=sheet.markdown)}
    if row["parent_id"] in sheet.parents:
        fields["parent"] = sheet.parents[row["parent_id"]]
    metadata = {
        **{name: row[name] for name in ("iteration", "origin", "mutation", "depth", *METRICS)},
        "score_first": row[f"score_{first}"],
        "score_second": row[f"score_{second}"],
        "length_first": len(texts["first"]),
        "length_second": len(texts["second"]),
        "order": row["order"],
        "content": content,
    }
    better = "first" if first == "chosen" else "second"
    sure = sheet.agent is not None and row["score_chosen"] > row["score_rejected"]
    return {
        "external_id": row["pair_id"],
        "fields": fields | {slot: display.shown(text, markdown=sheet.markdown) for slot, text in texts.items()},
        "metadata": {name: value for name, value in metadata.items() if _is_known(value)},
        "suggestions": [{"question_id": sheet.question_id, "value": better, "agent": sheet.agent}] if sure else [],
    }


def _is_known(value: Any) -> bool:
    """Whether the server can store a value: it refuses NaN, and JSON has no infinity."""
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _same(record: Record, new: Record) -> bool:
    suggested = {(each["question_id"], each["value"]) for each in record.get("suggestions") or ()}
    return (
        {name: text for name, text in record["fields"].items() if text is not None} == new["fields"]
        and record["metadata"] == new["metadata"]
        and suggested == {(each["question_id"], each["value"]) for each in new["suggestions"]}
    )
