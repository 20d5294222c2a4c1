"""Reads Alpaca's instructions: the task is in one column and its input in another, which is never dropped silently."""

from __future__ import annotations

import polars as pl

from eva_data.tables.reading.source import Schema
from eva_data.tables.shapes.values import is_text, text

INSTRUCTION, INPUT = "instruction", "input"


def input_of(column: str, named: str | bool | None, schema: Schema) -> str | None:
    """The column that belongs under an instruction; None if there is none.

    `named` is the setting: the name of a column, False for none, or None, which means `input` if the prompt's column
    is `instruction`. Raise DataError if the named column does not exist.
    """
    if named is False or named is True:
        return None
    if named is not None:
        return named
    return INPUT if column == INSTRUCTION and INPUT in schema and is_text(schema[INPUT]) else None


def instruction(column: str, under: str, schema: Schema) -> pl.Expr:
    """The instruction and, unless its input is blank, an empty line and the input."""
    task, about = text(pl.col(column), schema[column]), text(pl.col(under), schema[under])
    has_input = about.str.strip_chars().str.len_chars() > 0
    return pl.when(has_input).then(pl.concat_str(task, pl.lit("\n\n"), about)).otherwise(task)
