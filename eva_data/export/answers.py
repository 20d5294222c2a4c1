"""One record per prompt in the form of AlpacaEval, Arena-Hard or MT-Bench.

Sources of the forms: alpaca_eval 0.6.6 (`model_outputs`), lmarena/arena-hard-auto (`model_answer`, as its first release
reads it, by `question_id`, and as it reads it since, by `uid`) and lm-sys/FastChat (`llm_judge`, `model_answer`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import polars as pl

from eva_data.calls import conversation_text
from eva_data.errors import DataError
from eva_data.files import write_text

Form: TypeAlias = Literal["alpaca_eval", "arena_hard", "mt_bench"]
FORMS: tuple[str, ...] = get_args(Form)

ENDINGS = {"alpaca_eval": ".json", "arena_hard": ".jsonl", "mt_bench": ".jsonl"}
"""The endings by which the tools know their files. Two of them take the rest of the name for the model's."""

NO_TIME = 0.0
"""The time of an answer, which these tools want and eva-data does not keep."""


def write_answers(path: Path, answers: pl.DataFrame, form: Form, model: str) -> int:
    """Write the answers of a model to a set, and return the number of prompts.

    `answers` has one row per (prompt, turn): `question_id` (the benchmark's own, null where the set has none), `prompt`
    (messages up to the turn), `turn`, `response`, and `completion_tokens`. Raises DataError where an answer is missing,
    where the form needs ids that the set does not have, or where the tool would not find a file of that name.
    """
    if path.suffix != ENDINGS[form]:
        raise DataError(
            f"`--output` is {path.name}, and the tool of {form} reads files that end in {ENDINGS[form]} only: call it "
            f"{path.with_suffix(ENDINGS[form]).name}"
        )
    missing = answers.filter(pl.col("response").is_null())["prompt"].len()
    if missing:
        raise DataError(
            f"{missing} answers of {model} are missing, and the tools of {form} count a file as complete: evaluate "
            "again, which asks for what failed"
        )
    if form != "alpaca_eval" and answers["question_id"].null_count():
        raise DataError(
            f"the form {form} names each prompt by the benchmark's own id, and the set has no column `question_id` or "
            "`uid`: name the benchmark's own file of prompts"
        )
    records = list(_alpaca(answers, model) if form == "alpaca_eval" else _chosen(answers, form, model))
    if form == "alpaca_eval":
        write_text(path, json.dumps(records, ensure_ascii=False, indent=2) + "\n")
    else:
        write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
    return len(records)


def _alpaca(answers: pl.DataFrame, model: str) -> Iterator[dict[str, Any]]:
    for row in answers.filter(pl.col("turn") == 1).iter_rows(named=True):
        yield {"instruction": conversation_text(row["prompt"]), "output": row["response"], "generator": model}


def _chosen(answers: pl.DataFrame, form: Form, model: str) -> Iterator[dict[str, Any]]:
    by_question = answers.sort("turn").group_by("question_id", maintain_order=True)
    grouped = by_question.agg(pl.col("prompt").last(), "response", "completion_tokens")
    for row in grouped.sort("question_id").iter_rows(named=True):
        turns = _turns(row["response"], row["completion_tokens"], form)
        name: Any = row["question_id"]
        record = {
            "question_id": int(name) if form == "mt_bench" and name.isdigit() else name,
            "answer_id": hashlib.sha256(f"{model}\n{name}".encode()).hexdigest()[:22],
            "model_id": model,
            "choices": [{"index": 0, "turns": turns}],
            "tstamp": NO_TIME,
        }
        yield record | _since(record, row["prompt"], row["response"]) if form == "arena_hard" else record


def _since(record: dict[str, Any], prompt: list[dict[str, str]], responses: Sequence[str]) -> dict[str, Any]:
    """What a record of Arena-Hard has since its second version, beside the keys of its first."""
    answered = {"role": "assistant", "content": {"answer": responses[-1]}}
    return {
        "uid": record["question_id"],
        "ans_id": record["answer_id"],
        "model": record["model_id"],
        "messages": [*prompt, answered],
    }


def _turns(texts: Sequence[str], tokens: Sequence[int | None], form: Form) -> list[Any]:
    if form == "mt_bench":
        return list(texts)
    return [{"content": text, "token_len": count or 0} for text, count in zip(texts, tokens, strict=True)]
