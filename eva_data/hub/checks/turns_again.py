"""Finds evolved prompts that do not continue their parent by its best answer, where the method adds a turn."""

from __future__ import annotations

import polars as pl

from eva_data.config import Config
from eva_data.dataset.ordered import Table, height_of, in_memory
from eva_data.method.responses import best_replies
from eva_data.tables.ranges import ranges_for


def replay_turns(config: Config, before: pl.LazyFrame, counted: Table, evolutions: pl.LazyFrame) -> list[str]:
    """One sentence if evolutions of `self_talk` hold other turns than their parent and its best answer.

    `before` are PROMPTS of X_{t-1}, and `counted` are the RESPONSES to them by which prompts were drawn.
    """
    if not config.evolve.adds_turn:
        return []
    own = [strategy.name for strategy in config.evolve.strategies]
    added = evolutions.filter(pl.col("prompt").is_not_null() & ~pl.col("mutation").is_in(own))
    parts = ranges_for(max(height_of(counted), height_of(added)))
    wrong = pl.concat(
        _others(part.with_nulls(added, "parent_id"), part.of(before), in_memory(part.of(counted.lazy())))
        for part in parts
    )
    if wrong.is_empty():
        return []
    first = wrong.sort("prompt_id")["prompt_id"][0]
    return [f"evolutions: {wrong.height} prompts do not continue their parent by its best answer: {first} ..."]


def _others(added: pl.LazyFrame, before: pl.LazyFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """`prompt_id` of the added prompts that do not continue their parent by its best answer."""
    replies = best_replies(counted).rename({"prompt_id": "parent_id"}).lazy()
    parents = before.select(parent_id="prompt_id", parent="prompt").join(replies, on="parent_id", how="left")
    turns = pl.col("prompt").list
    given = turns.get(-2, null_on_oob=True).struct
    others = added.join(parents, on="parent_id", how="left").filter(
        (turns.head(turns.len() - 2) != pl.col("parent")).fill_null(True)
        | (given.field("role") != "assistant").fill_null(True)
        | (given.field("content") != pl.col("reply")).fill_null(True)
    )
    return in_memory(others.select("prompt_id"))
