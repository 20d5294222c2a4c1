"""Turns scored responses of any shape into one row per response."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from eva_data.tables.reading.source import Schema

Expressions = Callable[[Schema], pl.Expr]

NOT_A_NUMBER = "not_a_number"
MISALIGNED = "responses_and_rewards_differ_in_number"


@dataclass(frozen=True)
class Named:
    """What the settings say about a table of scored responses."""

    prompt: str
    response: str
    reward: str
    model: str | None
    under: str | bool | None = None
    shape: str | None = None
    lower_is_better: bool | None = None
    block: str = "solver."
    """The block of the settings that the names stand in, for error messages; empty if they are arguments."""


@dataclass(frozen=True)
class Shape:
    """How the responses of a table are found. Each expression gives a list with one item per response of a row."""

    name: str
    responses: Expressions
    """Lists of text."""
    rewards: Expressions
    """Lists of numbers; an item is null if it cannot be read as a number."""
    given: Expressions
    """Lists of booleans: whether there is any value in the place of the number."""
    models: Expressions | None
    """Lists of text; None if no column names the model."""
    reward: str
    """The reward's name in the tables."""
    prompt: Expressions | None = None
    """The prompt, if it has no column of its own."""
    says: str | None = None
    """A note on the choice for the user; None if the settings name the columns."""


def responses_in(
    frame: pl.LazyFrame, schema: Schema, shape: Shape, prompt: Expressions, *, lower_is_better: bool
) -> pl.LazyFrame:
    """One row per response: `prompt` (a struct of `prompt` and `reason`), `response`, `reward`, `why`, `model`.

    `why` is the reason if a reward cannot be read, or if it is unknown to which response it belongs; else null. A row
    without responses becomes one row whose response is null.
    """
    lists = {
        "response": (shape.responses(schema), pl.String),
        "reward": (shape.rewards(schema), pl.Float64),
        "given": (shape.given(schema), pl.Boolean),
        "model": (None if shape.models is None else shape.models(schema), pl.String),
    }
    count, scored = pl.col("response").list.len().fill_null(0), pl.col("reward").list.len()
    unreadable = pl.col("given").fill_null(False) & pl.col("reward").is_null()
    return (
        frame.select(
            (prompt if shape.prompt is None else shape.prompt)(schema).alias("prompt"),
            *(
                (pl.lit(None, dtype=pl.List(dtype)) if value is None else value).alias(name)
                for name, (value, dtype) in lists.items()
            ),
        )
        .with_columns(count=count, misaligned=scored.is_not_null() & (scored != count))
        .with_columns(_aligned(name, dtype) for name, (_, dtype) in lists.items())
        .drop("count")
        .explode(*lists)
        .select(
            "prompt",
            "response",
            reward=-pl.col("reward") if lower_is_better else pl.col("reward"),
            why=pl.when("misaligned").then(pl.lit(MISALIGNED)).when(unreadable).then(pl.lit(NOT_A_NUMBER)),
            model="model",
        )
    )


def _aligned(name: str, dtype: type[pl.DataType]) -> pl.Expr:
    """A list with one item per response: its own items if their number is right, else nulls; null without responses."""
    count = pl.col("count")
    own = pl.when(pl.col(name).list.len() == count).then(pl.col(name))
    return pl.when(count > 0).then(pl.coalesce(own, pl.lit(None, dtype=dtype).repeat_by(count)))
