"""Human prompts and scored responses from files and Hub datasets, as the tables of iteration 1.

Nothing is dropped without a word: what cannot be a prompt goes to `rejects` with its reason. Which seeds an
iteration gets follows from their content and the seed, not from the order of the file.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import polars as pl

from eva_data.config import Seeds, TableModel
from eva_data.dataset.staleness import without_folders
from eva_data.errors import DataError, StaleError
from eva_data.tables.flow import Flow
from eva_data.tables.ids import last_turn, prompt_id, uniform_draw
from eva_data.tables.reading import read_file, read_hub
from eva_data.tables.schemas import MESSAGES, PROMPTS, REJECTS, RESPONSES, conform

_ROLES = ("system", "user", "assistant")


def read_seeds(seeds: Seeds, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All usable seed prompts in their drawn order, and the rejects.

    The first frame has `prompt_id`, `prompt` and `source`, one row per distinct prompt. Raises DataError where
    there is no file, no such column or not one usable row.
    """
    source, frame = _source(seeds, seed)
    column = _column(frame, seeds.column, "seeds.column", source)
    table = frame.select(prompt=_messages(column, frame)).with_columns(source=pl.lit(source)).collect()
    return _accept(table, seed)


def _source(seeds: Seeds, seed: int) -> tuple[str, pl.LazyFrame]:
    if seeds.path is not None:
        return seeds.path.name, read_file(seeds.path, "seeds.path")
    if seeds.dataset is not None:
        return without_folders(seeds.dataset, "dataset"), read_hub(
            seeds.dataset, seeds.config, seeds.split, seeds.revision
        )
    from eva_data.sandbox.world import seed_prompts

    assert seeds.sandbox is not None
    return "sandbox", pl.LazyFrame({"prompt": seed_prompts(seeds.sandbox, seed)})


def _column(frame: pl.LazyFrame, column: str, key: str, source: str) -> str:
    columns = frame.collect_schema().names()
    if column not in columns:
        raise DataError(f"`{key}` is `{column}`, but {source} has the columns {', '.join(columns)}: name one of them")
    return column


def _messages(column: str, frame: pl.LazyFrame) -> pl.Expr:
    """The column as MESSAGES: a text becomes one user turn."""
    dtype = frame.collect_schema()[column]
    if dtype == pl.String:
        turn = pl.struct(pl.lit("user").alias("role"), pl.col(column).alias("content"))
        return pl.when(pl.col(column).is_not_null()).then(pl.concat_list(turn)).cast(MESSAGES)
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Struct):
        fields = {field.name for field in dtype.inner.fields}
        if {"role", "content"} <= fields:
            turn = pl.struct(pl.element().struct.field("role"), pl.element().struct.field("content"))
            return pl.col(column).list.eval(turn).cast(MESSAGES)
    raise DataError(f"the column `{column}` is {dtype}: expected text, or a list of messages with role and content")


def _accept(table: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    contents = pl.col("prompt").list.eval(pl.element().struct.field("content"))
    roles = pl.col("prompt").list.eval(pl.element().struct.field("role"))
    judged = table.with_columns(
        reason=pl.when(pl.col("prompt").is_null() | contents.list.eval(pl.element().is_null()).list.any())
        .then(pl.lit("null"))
        .when((pl.col("prompt").list.len() == 0) | contents.list.last().str.strip_chars().eq(""))
        .then(pl.lit("empty"))
        .when(~roles.list.eval(pl.element().is_in(_ROLES)).list.all())
        .then(pl.lit("unknown_role"))
        .when(roles.list.last() != "user")
        .then(pl.lit("does_not_end_in_a_user_turn")),
        prompt_id=prompt_id(pl.col("prompt")),
    )
    usable = judged.filter(pl.col("reason").is_null())
    repeated = usable.group_by("prompt_id").len().filter(pl.col("len") > 1)
    duplicates = repeated.select(
        pl.col("prompt_id").repeat_by(pl.col("len") - 1).explode(), reason=pl.lit("duplicate")
    ).with_columns(duplicate_of=pl.col("prompt_id"))
    texts = usable.unique("prompt_id").select("prompt_id", text=last_turn(pl.col("prompt")))
    rejects = pl.concat(
        [
            conform(
                judged.filter(pl.col("reason").is_not_null()).with_columns(text=last_turn(pl.col("prompt"))),
                REJECTS,
            ),
            conform(duplicates.join(texts, on="prompt_id", how="left"), REJECTS),
        ]
    ).with_columns(stage=pl.lit("seeds"), iteration=pl.lit(1, dtype=pl.Int32))
    # Spellings that normalise to one prompt are one seed; which of them stays must not hang on the file's order.
    distinct = usable.sort("prompt_id", contents.list.join("\x1e")).unique(
        "prompt_id", keep="first", maintain_order=True
    )
    if distinct.is_empty():
        reasons = judged.group_by("reason").len().sort("reason").rows()
        raise DataError(f"of {table.height} seeds none can be used: {dict(reasons)}")
    draw = uniform_draw(pl.col("prompt_id"), seed=seed, stage="seeds", iteration=0)
    return distinct.sort(draw, "prompt_id").select("prompt_id", "prompt", "source"), rejects


def seed_block(seeds: pl.DataFrame, iteration: int, per_iteration: int | None) -> pl.DataFrame:
    """PROMPTS of the seeds that belong to `iteration`: disjoint blocks of the drawn order.

    Raises StaleError where fewer than one seed is left for it.
    """
    size = per_iteration or seeds.height
    block = seeds.slice((iteration - 1) * size, size)
    if block.is_empty():
        raise StaleError(
            f"iteration {iteration} needs new seeds, but all {seeds.height} are used up "
            f"({math.ceil(seeds.height / size)} blocks of {size}): add seeds, or lower `seeds.per_iteration`"
        )
    return as_prompts(block, iteration)


def as_prompts(seeds: pl.DataFrame, iteration: int) -> pl.DataFrame:
    """PROMPTS of seed prompts: each its own root, at depth 0."""
    return conform(
        seeds.with_columns(
            origin=pl.lit("seed"),
            mix_role=pl.lit("seed"),
            created_iteration=pl.lit(iteration),
            iteration=pl.lit(iteration),
            root_id=pl.col("prompt_id"),
            depth=pl.lit(0),
        ),
        PROMPTS,
    ).sort("prompt_id")


class TableRows(NamedTuple):
    """A table of scored responses as iteration 1."""

    prompts: pl.DataFrame
    """PROMPTS: each distinct prompt."""
    responses: pl.DataFrame
    """RESPONSES with a finite reward."""
    rejects: pl.DataFrame
    """REJECTS: one row per row of the table that is not in `responses`."""
    flow: Flow


def read_table(table: TableModel, seed: int) -> TableRows:
    """Scored responses that already exist, as the tables of iteration 1.

    Responses of one prompt are numbered in the order of (model, text, reward), so that the order of the file
    does not count. A null response or a null, NaN or infinite reward goes to `rejects`; so do the responses to a
    prompt that cannot be one.
    """
    if table.path is not None:
        source, frame = table.path.name, read_file(table.path, "solver.path")
    else:
        assert table.dataset is not None
        source = without_folders(table.dataset, "dataset")
        frame = read_hub(table.dataset, table.config, table.split, table.revision)
    for key in ("prompt", "response", "reward"):
        _column(frame, getattr(table, key), f"solver.{key}", source)
    solver = pl.col(_column(frame, table.model, "solver.model", source)) if table.model else pl.lit(f"table:{source}")
    if not frame.collect_schema()[table.reward].is_numeric():
        raise DataError(
            f"`solver.reward` is `{table.reward}`, which is {frame.collect_schema()[table.reward]}: expected numbers"
        )
    rows = (
        frame.select(
            prompt=_messages(table.prompt, frame),
            response=pl.col(table.response).cast(pl.String),
            reward=pl.col(table.reward).cast(pl.Float64),
            solver=solver.cast(pl.String),
        )
        .with_columns(prompt_id=prompt_id(pl.col("prompt")), source=pl.lit(source))
        .collect()
    )
    prompts, bad_prompts = _accept(rows.unique("prompt_id", keep="any").select("prompt", "source"), seed)
    why = bad_prompts.select("prompt_id", "stage", why="reason")
    judged = rows.join(why, on="prompt_id", how="left", nulls_equal=True).with_columns(
        stage=pl.coalesce("stage", pl.lit("reward")),
        reason=pl.when(pl.col("why").is_not_null())
        .then("why")
        .when(pl.col("response").is_null())
        .then(pl.lit("null_response"))
        .when(pl.col("reward").is_null())
        .then(pl.lit("null_reward"))
        .when(~pl.col("reward").is_finite())
        .then(pl.lit("not_finite")),
        iteration=pl.lit(1),
        text=pl.col("response").str.slice(0, 2000),
    )
    responses = (
        judged.filter(pl.col("reason").is_null())
        .sort("prompt_id", "solver", "response", "reward")
        .with_columns(
            response_idx=pl.int_range(pl.len()).over("prompt_id"),
            reward_model=pl.lit(f"table:{table.reward}"),
            stage=pl.lit("respond"),
            reused=pl.lit(False),
        )
    )
    flow = Flow("table", "responses", rows.height, responses.height, judged["reason"].count())
    rejects = conform(judged.filter(pl.col("reason").is_not_null()), REJECTS)
    return TableRows(as_prompts(prompts, 1), conform(responses, RESPONSES), rejects, flow)
