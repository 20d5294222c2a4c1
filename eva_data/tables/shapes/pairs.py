"""Pairs: a chosen and a rejected response per row, each with its score."""

from __future__ import annotations

import polars as pl

from eva_data.tables.reading.source import Schema
from eva_data.tables.shapes.conversations import is_conversation, prompt, to_the_answer
from eva_data.tables.shapes.paths import Path, given, numbers, texts
from eva_data.tables.shapes.scored import Expressions, Shape
from eva_data.tables.shapes.values import may_be_number

CHOSEN, REJECTED = "chosen", "rejected"
_SCORES = ("score", "reward", "rating", "rm_score")


def recognise(schema: Schema, *, has_prompt: bool) -> Shape | None:
    """The shape, if `chosen` and `rejected` have a score each, such as `score_chosen` and `score_rejected`."""
    if CHOSEN not in schema or REJECTED not in schema:
        return None
    scores = scores_in(schema)
    if scores is None:
        return None
    responses = Path((CHOSEN,), (), False), Path((REJECTED,), (), False)
    rewards = Path((scores[0],), (), False), Path((scores[1],), (), False)
    asked: Expressions | None = None
    if not has_prompt:
        if not is_conversation(schema[CHOSEN]):
            return None
        asked = _before_the_answer
    return Shape(
        name="pairs",
        responses=lambda schema: pl.concat_list(*(texts(path, schema) for path in responses)),
        rewards=lambda schema: pl.concat_list(*(numbers(path, schema) for path in rewards)),
        given=lambda schema: pl.concat_list(*(given(path, schema) for path in rewards)),
        models=None,
        reward=f"{scores[0]}/{scores[1]}",
        prompt=asked,
        says=f"one row per pair: `{CHOSEN}` and `{REJECTED}` with the rewards `{scores[0]}` and `{scores[1]}`",
    )


def scores_in(schema: Schema) -> tuple[str, str] | None:
    """The columns of the two scores: known names, else the only two that differ in just that word; None if none do."""
    found = []
    for name in schema:
        other = name.replace(CHOSEN, REJECTED)
        numbers = other != name and other in schema and all(may_be_number(schema[n]) for n in (name, other))
        if numbers and name.replace(CHOSEN, "").strip("_-. "):
            found.append((name, other))
    known = [pair for word in _SCORES for pair in found if pair[0].replace(CHOSEN, "").strip("_-. ") == word]
    return known[0] if known else found[0] if len(found) == 1 else None


def _before_the_answer(schema: Schema) -> pl.Expr:
    whole = prompt(pl.col(CHOSEN), schema[CHOSEN])
    return pl.struct(prompt=to_the_answer(whole.struct.field("prompt")), reason=whole.struct.field("reason"))
