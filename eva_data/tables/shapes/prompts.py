"""Finds the column of a table that holds the prompts, and reads their conversations."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.errors import DataError
from eva_data.tables.reading.kinds import described
from eva_data.tables.reading.source import Schema, Source
from eva_data.tables.shapes.conversations import is_conversation, is_prompt, prompt
from eva_data.tables.shapes.instructions import INSTRUCTION, input_of, instruction
from eva_data.tables.shapes.values import column

DEFAULT = "prompt"
_CONVERSATIONS = ("messages", "conversations", "conversation")


@dataclass(frozen=True)
class Prompts:
    """The column of the prompts, and the column of the text that goes under them."""

    column: str
    under: str | None
    says: str | None
    """A note on the choice for the user; None if the settings name the column."""

    def of(self, schema: Schema) -> pl.Expr:
        """A struct of `prompt` and `reason` (see `conversations.prompt`)."""
        if self.under is not None:
            return prompt(instruction(self.column, self.under, schema), pl.String())
        value, dtype = column(self.column, schema, frozenset(), "", "")
        return prompt(value, dtype)


def prompts_of(source: Source, named: str, under: str | bool | None, key: str) -> Prompts:
    """The prompts of a table: the column `named`, else a column whose name and type are usual for prompts.

    `key` is the block of the settings, or empty if the names are arguments. Raise DataError if there is no such
    column, or it cannot hold prompts.
    """
    chosen, says = named, None
    if named == DEFAULT and named not in source.schema:
        found = [name for name in _CONVERSATIONS if name in source.schema and is_conversation(source.schema[name])]
        found += [INSTRUCTION] * (INSTRUCTION in source.schema)
        if found:
            chosen, says = found[0], f"the prompts are in the column `{found[0]}`"
    place = ".".join(filter(None, (key, "column" if key == "seeds" else "prompt")))
    _, dtype = column(chosen, source.schema, source.twice, place, source.name)
    if not is_prompt(dtype):
        raise DataError(
            f"the column `{chosen}` of {source.name} holds {described(dtype)}: expected text, or a list of messages "
            f"with role and content; name another as `{place}`"
        )
    below = input_of(chosen, under, source.schema)
    if below is not None:
        column(below, source.schema, source.twice, ".".join(filter(None, (key, "input"))), source.name)
        says = f"the prompts are in the column `{chosen}`, with `{below}` under it where there is one"
    return Prompts(chosen, below, says)
