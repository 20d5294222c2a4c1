"""The texts of a reward job by their keys: each once, read from the rows whenever they are needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eva_data.calls import Row
from eva_data.ledger import Ledger, Score
from eva_data.ledger.records import hashed
from eva_data.rewards import keyed
from eva_data.rewards.keyed import KeyedRows


def row(*texts: str) -> dict[str, Any]:
    return {"responses": [*texts]}


def texts_of(row: Row) -> list[tuple[bytes, str]]:
    return [(hashed(text), text) for text in row["responses"]]


@pytest.mark.parametrize("rows_at_once", [1, 2, 500])
def test_a_text_that_occurs_often_is_given_once_and_what_is_kept_is_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(keyed, "CHUNK_ROWS", rows_at_once)
    rows = [row("a", "b", "a"), row(), row("c", "b"), row("a")]
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.keep_scores({hashed("b"): Score(0.5, None)})
        found = KeyedRows(rows, texts_of, tmp_path / "ledger.sqlite")
        assert (found.responses, found.distinct, found.missing) == (6, 3, 2)
        assert [*found.once()] == [(hashed(text), text) for text in "abc"]
        assert [*found.open()] == [(hashed(text), text) for text in "ac"]
        ledger.keep_scores({hashed("a"): Score(1.0, None)})
        assert [*found.open()] == [(hashed("c"), "c")]
    failed = {hashed("c"): Score(None, "too_long")}
    a, b, c = Score(1.0, None), Score(0.5, None), Score(None, "too_long")
    assert [*found.scores(failed)] == [[a, b, a], [], [c, b], [a]]


def test_keys_that_only_begin_alike_are_different(tmp_path: Path) -> None:
    keys = [b"the same " + text for text in (b"a", b"b", b"a")]
    rows = [row("a", "b", "a")]
    found = KeyedRows(rows, lambda row: list(zip(keys, row["responses"], strict=True)), tmp_path / "ledger.sqlite")
    assert [*found.once()] == [(keys[0], "a"), (keys[1], "b")]
