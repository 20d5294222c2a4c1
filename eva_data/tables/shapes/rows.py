"""One row per response, with its reward beside it. HelpSteer and similar sets name the reward by what it measures."""

from __future__ import annotations

import polars as pl

from eva_data.tables.reading.source import Schema
from eva_data.tables.shapes.conversations import is_conversation, prompt, to_the_answer
from eva_data.tables.shapes.paths import Path, given, names, numbers, path_of, texts, type_at
from eva_data.tables.shapes.scored import Shape
from eva_data.tables.shapes.values import is_number, may_be_number, may_be_text

RESPONSES = ("response", "completion", "output", "answer", "generation")
REWARDS = ("reward", "score", "overall_score", "rating", "helpfulness", "label")
_CONVERSATIONS = ("messages", "conversations", "conversation")


def shape_at(response: Path, reward: Path, model: Path | None, says: str | None, name: str = "rows") -> Shape:
    """The shape of responses and rewards at given paths. `says` is a note for the user."""
    return Shape(
        name=name,
        responses=lambda schema: texts(response, schema),
        rewards=lambda schema: numbers(reward, schema),
        given=lambda schema: given(reward, schema),
        models=None if model is None else lambda schema: names(model, schema),
        reward=reward.written,
        says=says,
    )


def recognise(schema: Schema, response: str, reward: str, model: Path | None) -> Shape | None:
    """The shape, if the columns have known names. A conversation may hold its own response."""
    scores = [name for name in (reward, *REWARDS) if name in schema and may_be_number(schema[name])]
    # A label is more often the name of a class than right or wrong, so only a number counts.
    scores = [name for name in scores if name != "label" or is_number(schema[name])]
    if not scores:
        return None
    score = Path((scores[0],), (), False)
    answers = [name for name in (response, *RESPONSES) if name in schema and _is_answer(schema, name)]
    if answers:
        says = f"one row per response: `{answers[0]}` with the reward `{scores[0]}`"
        return shape_at(Path((answers[0],), (), False), score, model, says)
    talks = [name for name in _CONVERSATIONS if name in schema and is_conversation(schema[name])]
    if not talks or "prompt" in schema:
        return None
    talk = talks[0]
    says = f"one row per response, the last turn of `{talk}`, with the reward `{scores[0]}`"
    shape = shape_at(Path((talk,), (), False), score, model, says)

    def asked(schema: Schema) -> pl.Expr:
        whole = prompt(pl.col(talk), schema[talk])
        return pl.struct(prompt=to_the_answer(whole.struct.field("prompt")), reason=whole.struct.field("reason"))

    return Shape(**(vars(shape) | {"prompt": asked}))


def _is_answer(schema: Schema, name: str) -> bool:
    found = path_of(name, schema)
    return found is not None and not found.is_list and may_answer(type_at(found, schema))


def may_answer(dtype: pl.DataType) -> bool:
    """Whether a column can hold responses: texts, or conversations that end in a response."""
    return may_be_text(dtype) or is_conversation(dtype) or dtype == pl.Null
