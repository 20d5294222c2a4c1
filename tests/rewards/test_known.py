"""Reference answers: each prompt has its own, whatever the order and the number of those that are looked up."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from eva_data.config import Answers
from eva_data.errors import DataError
from eva_data.rewards import known
from eva_data.rewards.known import KnownAnswers, read_answers

ASKED = ["e\u0301?", "two?", "\u00e9?", "lists?", "unknown?", "none?", "two?"]


@pytest.mark.parametrize("texts_at_once", [1, 2, 10_000])
def test_answers_are_found_for_some_prompts_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts_at_once: int
) -> None:
    monkeypatch.setattr(known, "TEXTS_AT_ONCE", texts_at_once)
    path = tmp_path / "answers.parquet"
    table = {
        "prompt": ["\u00e9?\r\n", "two?", "two? ", "lists?", "none?", "other?", None],
        "answer": [7, 2, 2, 5, None, 1, 3],
    }
    pl.DataFrame(table).write_parquet(path)
    found = KnownAnswers(Answers(path=path), lambda: ASKED)
    assert found.of(ASKED) == {"e\u0301?": 7, "two?": 2, "\u00e9?": 7, "lists?": 5}
    assert [found.of([text]) for text in ASKED] == [
        {ASKED[0]: 7},
        {"two?": 2},
        {ASKED[2]: 7},
        {"lists?": 5},
        {},
        {},
        {"two?": 2},
    ]
    assert found.of([]) == {}
    assert read_answers(Answers(path=path), []) == {}


def test_a_column_of_texts_is_numbers_only_if_all_answers_to_the_prompts_are(tmp_path: Path) -> None:
    path = tmp_path / "answers.csv"
    pl.DataFrame({"prompt": ["one?", "two?", "three?"], "answer": ["1", "2", "III"]}).write_csv(path)
    whole = KnownAnswers(Answers(path=path), lambda: ["one?", "two?", "three?"])
    assert (whole.of(["one?"]), whole.of(["three?"])) == ({"one?": "1"}, {"three?": "III"})
    assert KnownAnswers(Answers(path=path), lambda: ["one?", "two?"]).of(["one?"]) == {"one?": 1}


def test_of_prompts_with_two_answers_the_first_by_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [("b?", 1), ("a?", 1), ("b?", 2), ("c?", 3), (" a?", 2)]
    pl.DataFrame(rows, schema=["prompt", "answer"], orient="row").write_ndjson(path)
    with pytest.raises(
        DataError, match=r"^answers\.jsonl has two different answers to the prompt `a\?`: keep one of them$"
    ):
        KnownAnswers(Answers(path=path), lambda: ["c?", "b?", "a?"])
    assert KnownAnswers(Answers(path=path), lambda: ["c?"]).of(["c?", "a?"]) == {"c?": 3}
