"""Answers as the benchmarks' own tools read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from eva_data.errors import DataError
from eva_data.export.answers import ENDINGS, FORMS, write_answers
from eva_data.tables.schemas import MESSAGES


def table(*rows: tuple[str | None, str, int, str | None, int | None]) -> pl.DataFrame:
    """Rows of (question_id, prompt, turn, response, completion_tokens)."""
    turns = [[{"role": "user", "content": row[1]}] for row in rows]
    names = ("question_id", "turn", "response", "completion_tokens")
    places = (0, 2, 3, 4)
    schema = {"question_id": pl.String, "turn": pl.Int32, "response": pl.String, "completion_tokens": pl.Int32}
    columns: dict[str, Any] = {name: [row[place] for row in rows] for name, place in zip(names, places, strict=True)}
    return pl.DataFrame(columns, schema=schema).with_columns(prompt=pl.Series(turns, dtype=MESSAGES))


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_alpaca_eval_reads_a_list_of_instructions_and_outputs(tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    count = write_answers(
        path, table((None, "Say ä.", 1, "ä", 3), (None, "Say b.", 1, "", 0)), "alpaca_eval", "theta_2"
    )
    assert count == 2
    assert json.loads(path.read_text(encoding="utf-8")) == [
        {"instruction": "Say ä.", "output": "ä", "generator": "theta_2"},
        {"instruction": "Say b.", "output": "", "generator": "theta_2"},
    ]


def test_arena_hard_reads_a_line_of_choices_per_question(tmp_path: Path) -> None:
    path = tmp_path / "theta_2.jsonl"
    assert write_answers(path, table(("q2", "B?", 1, "b", None), ("q1", "A?", 1, "a", 7)), "arena_hard", "theta_2") == 2
    first, second = lines(path)
    assert first == {
        "question_id": "q1",
        "answer_id": first["answer_id"],
        "model_id": "theta_2",
        "choices": [{"index": 0, "turns": [{"content": "a", "token_len": 7}]}],
        "tstamp": 0.0,
        "uid": "q1",
        "ans_id": first["answer_id"],
        "model": "theta_2",
        "messages": [{"role": "user", "content": "A?"}, {"role": "assistant", "content": {"answer": "a"}}],
    }
    assert second["choices"][0]["turns"] == [{"content": "b", "token_len": 0}]
    assert len(first["answer_id"]) == 22 and first["answer_id"] != second["answer_id"]


def test_mt_bench_reads_both_turns_of_a_numbered_question(tmp_path: Path) -> None:
    path = tmp_path / "theta_2.jsonl"
    answers = table(("81", "More?", 2, "more", 2), ("81", "Write.", 1, "written", 5))
    assert write_answers(path, answers, "mt_bench", "theta_2") == 1
    (record,) = lines(path)
    assert (record["question_id"], record["choices"]) == (81, [{"index": 0, "turns": ["written", "more"]}])


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_answer_is_told_and_nothing_is_written(tmp_path: Path, form: Any) -> None:
    with pytest.raises(DataError, match="1 answers of theta_2 are missing"):
        write_answers(tmp_path / f"out{ENDINGS[form]}", table(("1", "A?", 1, None, None)), form, "theta_2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("form", "name", "other"),
    [("alpaca_eval", "theta_2.jsonl", "theta_2.json"), ("mt_bench", "theta_2.json", "theta_2.jsonl")],
)
def test_a_name_that_the_tool_would_not_find_is_refused(tmp_path: Path, form: Any, name: str, other: str) -> None:
    with pytest.raises(DataError, match=rf"`--output` is {name}, and the tool of {form} reads .* call it {other}$"):
        write_answers(tmp_path / name, table(("1", "A?", 1, "a", 1)), form, "theta_2")
    assert not list(tmp_path.iterdir())


def test_a_form_that_goes_by_ids_needs_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the set has no column `question_id` or `uid`"):
        write_answers(tmp_path / "out.jsonl", table((None, "A?", 1, "a", 1)), "mt_bench", "theta_2")
