"""One row per prompt, with a list of its responses and a list of their rewards, as SimPO's scripts write them."""

from __future__ import annotations

import polars as pl

from eva_data.tables.reading.source import Schema
from eva_data.tables.shapes.paths import Path
from eva_data.tables.shapes.rows import shape_at
from eva_data.tables.shapes.scored import Shape
from eva_data.tables.shapes.values import is_number, is_text, items_of

_RESPONSES = ("all_generated_responses", "responses", "completions", "outputs", "generations", "answers", "candidates")
_REWARDS = ("all_rm_scores", "rewards", "scores", "ratings")


def recognise(schema: Schema, response: str, reward: str, model: Path | None) -> Shape | None:
    """The shape, if there is a list of texts and a list of numbers that have known names or are the only lists."""
    answers, scores = names_in(schema, response, reward)
    if answers is None or scores is None:
        return None
    says = f"one row per prompt: a list of responses, `{answers}`, and of rewards, `{scores}`"
    return shape_at(Path((answers,), (), True), Path((scores,), (), True), model, says, "lists")


def names_in(schema: Schema, response: str, reward: str) -> tuple[str | None, str | None]:
    """The column of lists of responses and the column of lists of rewards; None for a column that is not found."""
    answers = [name for name, dtype in schema.items() if _lists(dtype, numbers=False)]
    scores = [name for name, dtype in schema.items() if _lists(dtype, numbers=True)]
    return _one(answers, (response, *_RESPONSES)), _one(scores, (reward, *_REWARDS))


def _one(found: list[str], known: tuple[str, ...]) -> str | None:
    named = [name for name in known if name in found]
    return named[0] if named else found[0] if len(found) == 1 else None


def _lists(dtype: pl.DataType, *, numbers: bool) -> bool:
    items = items_of(pl.lit(None), dtype)
    return items is not None and (is_number(items[1]) if numbers else is_text(items[1]))
