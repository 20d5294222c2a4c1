"""Mixes evolved prompts with earlier prompts."""

from __future__ import annotations

from typing import Literal

import polars as pl

from eva_data.api.frames import FrameT, opened
from eva_data.api.scored import SEED, as_text
from eva_data.dataset.seeds import accept, as_prompts
from eva_data.errors import ConfigError
from eva_data.method import mix as mixing
from eva_data.tables.reading.source import Source
from eva_data.tables.schemas import EVOLUTIONS
from eva_data.tables.shapes.conversations import transcripts
from eva_data.tables.shapes.prompts import prompts_of


def read_prompts(frame: object, prompt: str, name: str, *, reason: bool = False) -> tuple[pl.DataFrame, bool]:
    """PROMPTS of a table, one row per distinct prompt, and whether they were given as text and each is one turn.

    With `reason`, rows whose column `reason` is not null, and rows without a prompt, are left out.
    """
    given, _ = opened(frame)
    if reason:
        there = pl.col(prompt).is_not_null()
        given = given.filter(there & pl.col("reason").is_null() if "reason" in given.collect_schema() else there)
    source = Source(name, "prompts", ((name, given),))
    column = prompts_of(source, prompt, None, "")
    asked = source.map(lambda rows, schema: rows.select(asked=column.of(schema)).unnest("asked"))
    table = source.collect(asked.with_columns(prompt=transcripts(pl.col("prompt")), source=pl.lit(name)))
    distinct, _ = accept(table.select("prompt", "reason", "source"), SEED)
    prompts = as_prompts(distinct, 1)
    one_turn = not prompts.select((pl.col("prompt").list.len() > 1).any()).item()
    return prompts, one_turn and column.under is None and source.schema[column.column] == pl.String


def mix(
    prompts: FrameT,
    evolved: object,
    *,
    share: float = 0.8,
    shortfall: mixing.Shortfall = "shrink",
    prompt: str = "prompt",
    seed: int = SEED,
    iteration: int = 1,
) -> FrameT:
    """The next prompt set: new prompts, and earlier prompts for the rest (paper: algorithm 1, appendix A).

    `prompts` and `evolved` are tables with a column of prompts; `evolved` may be what `evolve` returns. Rows of
    `evolved` with a `reason` do not count, repeated prompts count once, and a prompt of `prompts` is not new. The
    result has N rows for N prompts: round(share x N) new ones, drawn by hash, and originals, with the columns `prompt`
    and `origin` (`evolved` or `original`), the new ones first. With too few new prompts, `shrink` keeps the ratio,
    `fill_original` keeps N, and `error` raises DataError.

    Raise ConfigError if `share` is not in [0, 1], and DataError if the next set would be empty.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"`share` is {share}: expected a number from 0 to 1, such as 0.8")
    before, text = read_prompts(prompts, prompt, "prompts")
    found, new_text = read_prompts(evolved, prompt, "evolved", reason=True)
    new = found.join(before.select("prompt_id"), on="prompt_id", how="anti")
    mixed = mixing.mix(
        before.lazy(),
        pl.LazyFrame(schema=EVOLUTIONS),
        evolved=share,
        source="new_seeds",
        shortfall=shortfall,
        new_seeds=new.lazy(),
        seed=seed,
        iteration=iteration,
    ).prompts
    is_new: pl.Expr = pl.col("mix_role") == "seed"
    origin: dict[Literal["evolved", "original"], pl.Expr] = {"evolved": is_new, "original": ~is_new}
    parts = [mixed.filter(rows).select("prompt", origin=pl.lit(name)) for name, rows in origin.items()]
    result = pl.concat(parts).collect()
    if text and new_text:
        result = result.with_columns(prompt=as_text(pl.col("prompt")))
    back: FrameT = opened(prompts)[1](result)
    return back
