"""Alpaca's instructions: the task in one column, what it is about in another, which is never dropped silently."""

from __future__ import annotations

import polars as pl

from eva_data.tables.reading.source import Schema
from eva_data.tables.shapes.values import is_text, text

INSTRUCTION, INPUT = "instruction", "input"


def input_of(column: str, named: str | bool | None, schema: Schema) -> str | None:
    """The column that belongs under an instruction; None without one.

    `named` is what the settings say: a column, False for none, None for `input` beside a column `instruction`.
    """
    if named is False or named is True:
        return None
    if named is not None:
        return named
    return INPUT if column == INSTRUCTION and INPUT in schema and is_text(schema[INPUT]) else None


def instruction(column: str, under: str, schema: Schema) -> pl.Expr:
    """The instruction, and after an empty line its input where that is not blank."""
    task, about = text(pl.col(column), schema[column]), text(pl.col(under), schema[under])
    has_input = about.str.strip_chars().str.len_chars() > 0
    return pl.when(has_input).then(pl.concat_str(task, pl.lit("\n\n"), about)).otherwise(task)
