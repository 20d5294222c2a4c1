"""One row per prompt, with a list of objects that each hold a response and its score: UltraFeedback, Nectar."""

from __future__ import annotations

import polars as pl

from eva_data.tables.reading.source import Schema
from eva_data.tables.shapes.conversations import is_one_answer
from eva_data.tables.shapes.paths import Path, column_at
from eva_data.tables.shapes.rows import shape_at
from eva_data.tables.shapes.scored import Shape
from eva_data.tables.shapes.values import fields_of, is_text, items_of, may_be_number

_RESPONSES = ("response", "answer", "completion", "output", "generation", "text", "content")
_REWARDS = ("overall_score", "reward", "score", "rating", "rank")


def recognise(schema: Schema, response: str, reward: str, model: Path | None) -> Shape | None:
    """The shape, if exactly one column lists objects that hold a response and a score by known names, else None."""
    found = []
    for name, dtype in schema.items():
        items = items_of(pl.lit(None), dtype)
        if items is None or is_one_answer(dtype):
            continue
        fields = fields_of(items[1])
        answer = next((field for field in (response, *_RESPONSES) if field in fields and is_text(fields[field])), None)
        score = next((field for field in (reward, *_REWARDS) if field in fields and may_be_number(fields[field])), None)
        if answer and score:
            found.append((Path((name,), (answer,), True), Path((name,), (score,), True)))
    if len(found) != 1:
        return None
    ((answers, scores),) = found
    says = f"one row per prompt: the responses `{answers.written}` with the rewards `{scores.written}`"
    return shape_at(answers, scores, model, says, "completions")


def beside(path: Path, schema: Schema, *, response: bool) -> Path | None:
    """The path of the response, or of the reward, in the same objects as `path`; None if they hold none."""
    items = items_of(*column_at(path, schema))
    fields = {} if items is None else fields_of(items[1])
    known = _RESPONSES if response else _REWARDS
    fits = is_text if response else may_be_number
    name = next((field for field in known if field in fields and fits(fields[field])), None)
    return None if name is None else Path(path.outer, (name,), True)


def is_ranking(reward: str) -> bool:
    """Whether a name says that a lower number is better."""
    return reward.rpartition(".")[2].lower() in ("rank", "ranks", "ranking", "position")
