"""Makes the tables of a dataset from the record of an online run."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.tables.ids import last_turn
from eva_data.tables.reasons import PROMPT_TOO_LONG
from eva_data.tables.schemas import EVOLUTIONS, PROMPTS, REJECTS, RESPONSES, conform

RecordedStep = Mapping[str, Any]

ITERATION = 1
"""An online run is the only iteration of its dataset."""


def read_record(path: Path) -> list[RecordedStep]:
    """The record: one line per step, in order."""
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def prompts_table(lines: Sequence[RecordedStep]) -> pl.DataFrame:
    """PROMPTS: one row per prompt of the training."""
    rows = {row["prompt_id"]: row for line in lines for row in line["prompts"]}
    table = pl.DataFrame([*rows.values()], schema=PROMPTS)
    first = pl.lit(ITERATION, pl.Int32)
    return table.with_columns(created_iteration=first, iteration=first).sort("prompt_id")


def responses_table(lines: Sequence[RecordedStep], *, solver: str, reward_model: str) -> pl.DataFrame:
    """RESPONSES of the training. A prompt that came more than once has the responses of its last step.

    The column `solver` names the model after a number of steps: `<start>+<algorithm>-<steps>`.
    """
    rows = [
        {
            "prompt_id": answer["prompt_id"],
            "response_idx": number,
            "response": answer["text"],
            "reward": answer["reward"],
            "finish_reason": answer["finish_reason"],
            "completion_tokens": answer["tokens"],
            "solver": f"{solver}-{step - 1}",
        }
        for step, answers in _last_answers(lines)
        for number, answer in enumerate(answers)
    ]
    table = pl.DataFrame(rows, schema={name: RESPONSES[name] for name in rows[0]} if rows else RESPONSES)
    return conform(
        table.with_columns(
            reward_model=pl.lit(reward_model),
            stage=pl.lit("respond"),
            reused=pl.lit(False),
            iteration=pl.lit(ITERATION),
        ),
        RESPONSES,
    )


def unscored_table(lines: Sequence[RecordedStep]) -> pl.DataFrame:
    """REJECTS: one row per response of `responses_table` without a reward."""
    rows = [
        {"prompt_id": answer["prompt_id"], "reason": answer["reason"] or "no_reward", "text": answer["text"][:2000]}
        for _, answers in _last_answers(lines)
        for answer in answers
        if answer["reward"] is None
    ]
    table = pl.DataFrame(rows, schema={"prompt_id": pl.String, "reason": pl.String, "text": pl.String})
    return conform(table.with_columns(stage=pl.lit("reward"), iteration=pl.lit(ITERATION)), REJECTS)


def too_long_table(seeds: pl.DataFrame, too_long: Iterable[str]) -> pl.DataFrame:
    """REJECTS: seeds with more tokens than the recipe's `max_prompt_length`."""
    rejected = seeds.filter(pl.col("prompt_id").is_in(list(too_long)))
    return conform(
        rejected.select(
            "prompt_id",
            text=last_turn(pl.col("prompt")),
            stage=pl.lit("seeds"),
            reason=pl.lit(PROMPT_TOO_LONG),
            iteration=pl.lit(ITERATION),
        ),
        REJECTS,
    )


def evolutions_table(lines: Sequence[RecordedStep], trained: pl.DataFrame) -> pl.DataFrame:
    """EVOLUTIONS: one row per attempt. It is `mixed` if it was trained on, and `unused` if it waited or was dropped.

    If chains started at the same prompt in several training steps, the `step` of a later chain goes on counting.
    """
    used = set(trained["prompt_id"])
    taken: dict[str, int] = defaultdict(int)
    rows = []
    for line in lines:
        offsets = dict(taken)
        for row in line["evolutions"]:
            step = row["step"] + offsets.get(row["chain_id"], 0)
            taken[row["chain_id"]] = max(taken[row["chain_id"]], step)
            status = row["status"] or ("mixed" if row["prompt_id"] in used else "unused")
            rows.append(row | {"step": step, "status": status, "iteration": ITERATION})
    return pl.DataFrame(rows, schema=EVOLUTIONS).sort("chain_id", "step")


def _last_answers(lines: Sequence[RecordedStep]) -> Iterator[tuple[int, list[Mapping[str, Any]]]]:
    """(step, answers) of each prompt in the last step that trained on it."""
    found: dict[str, tuple[int, list[Mapping[str, Any]]]] = {}
    for line in lines:
        answers: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for answer in line["answers"]:
            answers[answer["prompt_id"]].append(answer)
        found |= {name: (line["step"], given) for name, given in answers.items()}
    yield from found.values()
