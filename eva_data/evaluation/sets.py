"""Reads the sets of prompts on which solvers are compared, and the baselines that come with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.config import EvaluationSet
from eva_data.errors import DataError
from eva_data.tables.ids import prompt_id
from eva_data.tables.reading import Source, open_hub, open_path
from eva_data.tables.schemas import MESSAGES
from eva_data.tables.shapes.prompts import prompts_of
from eva_data.tables.shapes.values import column, items_of, text

_COLUMNS: dict[str, Any] = {
    "prompt_id": pl.String,
    "prompt": MESSAGES,
    "turn_2": pl.String,  # the second user turn; null where there is none
    "reference": pl.List(pl.String),  # a reference answer per turn; null without one
    "checklist": pl.List(pl.String),
    "category": pl.String,
    "question_id": pl.String,  # the benchmark's own id; null where the file has none
    "place": pl.Int64,  # the row of the prompt in its file, from 0; null for prompts that come from no file
}
SET = pl.Schema(_COLUMNS)
"""One row per distinct prompt, ordered by `prompt_id`."""

BASELINE = pl.Schema({"prompt_id": pl.String, "response": pl.String})
_IDS = ("question_id", "uid", "id")
_AUTHORS = ("generator", "model", "model_id")
"""Columns that name the model of an answer: AlpacaEval's, Arena-Hard's and FastChat's."""
_PROMPTS, _ANSWERS = ("prompt", "instruction", "question"), ("response", "output", "answer", "completion")

Note = Callable[[str], object]


def read_set(block: EvaluationSet, note: Note) -> pl.DataFrame:
    """SET of a block that names a file, a Hub dataset or the sandbox. `note` receives sentences on what was left out.

    Raise DataError if it cannot be read, has no prompts, or lacks a named column.
    """
    if block.sandbox is not None:
        return _of_the_sandbox(block.sandbox, block.depths)
    source = _opened(block)
    key = f"evaluate.sets.{block.name}"
    prompts = prompts_of(source, block.column, None, key)

    def made(frame: pl.LazyFrame, schema: dict[str, pl.DataType]) -> pl.LazyFrame:
        return frame.select(
            asked=prompts.of(schema),
            turn_2=_text(block.turn_2, "turn_2", source, f"{key}.turn_2"),
            reference=_texts(block.reference, "reference", source, f"{key}.reference"),
            checklist=_texts(block.checklist, "checklist", source, f"{key}.checklist"),
            category=_text(block.category, "category", source, f"{key}.category"),
            question_id=_own_id(source),
        ).unnest("asked")

    table = source.collect(source.map(made))  # type: ignore[arg-type]
    asked = pl.col("prompt")
    usable = (
        table.with_row_index("place")
        .filter(
            pl.col("reason").is_null()
            & (asked.list.len() > 0)
            & (asked.list.last().struct.field("role") == "user")
            & (asked.list.last().struct.field("content").str.strip_chars() != "")
        )
        .with_columns(prompt_id=prompt_id(asked))
    )
    distinct = usable.unique("prompt_id", keep="first", maintain_order=True).sort("prompt_id")
    if distinct.is_empty():
        raise DataError(
            f"the set `{block.name}` of `evaluate.sets` has no usable prompt in {source.name}: name another"
        )
    if left := table.height - usable.height:
        note(f"{left} of {table.height} rows of the set `{block.name}` are no prompts: they are left out")
    if repeated := usable.height - distinct.height:
        note(f"{repeated} prompts of the set `{block.name}` are there twice: each is asked once")
    return distinct.select(SET.names()).cast(dict(SET))  # type: ignore[arg-type]


def read_baseline(path: Path, name: str, prompts: pl.DataFrame, note: Note) -> pl.DataFrame:
    """BASELINE: one row per prompt of the set that the file answers. Answers to others are left out, with a note.

    The file has the columns `prompt` and `response`, or `instruction` and `output` as in AlpacaEval. Raise DataError if
    it lacks them, if a prompt has two different answers, or if it holds no prompt of the set.
    """
    key = f"evaluate.sets.{name}.baseline"
    source = open_path(path, key)
    asked, answered = (_first_of(names, source, key) for names in (_PROMPTS, _ANSWERS))
    found = prompts_of(source, asked, None, key)
    table = source.collect(
        source.map(
            lambda frame, schema: frame.select(
                asked=found.of(schema), response=text(pl.col(answered), schema[answered])
            ).unnest("asked")
        )
    )
    answers = (
        table.filter(pl.col("prompt").is_not_null() & pl.col("response").is_not_null())
        .select(prompt_id(pl.col("prompt")).alias("prompt_id"), "response")
        .unique()
    )
    rows = answers.join(prompts.select("prompt_id"), on="prompt_id", how="semi").sort("prompt_id")
    twice = rows.filter(pl.col("prompt_id").is_duplicated())
    if twice.height:
        raise DataError(
            f"`{key}` is {path}, which has two different answers to {twice['prompt_id'].n_unique()} of the set's "
            "prompts: keep one answer per prompt"
        )
    if rows.is_empty():
        raise DataError(f"`{key}` is {path}, which answers no prompt of the set `{name}`: name the file that does")
    if unused := answers.height - rows.height:
        note(f"{unused} answers of {path} are to prompts that the set `{name}` does not hold: they are left out")
    if without := table.height - table.drop_nulls(["prompt", "response"]).height:
        note(f"{without} of {table.height} rows of {path} lack a prompt or an answer: they are left out")
    return rows.select(BASELINE.names())


def answered_by(path: Path, name: str) -> str | None:
    """Whose answers a file of a set called `name` holds, as its column says; None if it does not say, or of several.

    Raise DataError if the file cannot be read.
    """
    source = open_path(path, f"evaluate.sets.{name}.baseline")
    found = next((column for column in _AUTHORS if column in source.schema and column not in source.twice), None)
    if found is None:
        return None
    table = source.collect(
        source.map(lambda frame, schema: frame.select(author=text(pl.col(found), schema[found])).unique())
    )
    authors = table["author"].unique().drop_nulls()
    return str(authors[0]) if authors.len() == 1 else None


def _opened(block: EvaluationSet) -> Source:
    key = f"evaluate.sets.{block.name}"
    if block.path is not None:
        return open_path(block.path, f"{key}.path", split=block.split)
    assert block.dataset is not None
    return open_hub(block.dataset, block.config, block.split, block.revision, f"{key}.dataset")


def _first_of(names: tuple[str, ...], source: Source, key: str) -> str:
    found = [name for name in names if name in source.schema]
    if not found:
        raise DataError(
            f"`{key}` is {source.name}, which has the columns {', '.join(source.schema)}: expected one of "
            f"{', '.join(names)}"
        )
    return found[0]


def _chosen(named: str | None, usual: str, source: Source, key: str) -> tuple[pl.Expr, pl.DataType] | None:
    """The named column, else the usual column if the source has it, else None."""
    if named is None and usual not in source.schema:
        return None
    return column(named or usual, source.schema, source.twice, key, source.name)


def _text(named: str | None, usual: str, source: Source, key: str) -> pl.Expr:
    chosen = _chosen(named, usual, source, key)
    return pl.lit(None, dtype=pl.String) if chosen is None else text(*chosen)


def _own_id(source: Source) -> pl.Expr:
    """The benchmark's own id of a prompt."""
    found = next((name for name in _IDS if name in source.schema and name not in source.twice), None)
    return pl.lit(None, dtype=pl.String) if found is None else text(pl.col(found), source.schema[found])


def _texts(named: str | None, usual: str, source: Source, key: str) -> pl.Expr:
    """A column of texts or of lists of texts, as lists."""
    chosen = _chosen(named, usual, source, key)
    if chosen is None:
        return pl.lit(None, dtype=pl.List(pl.String))
    items = items_of(*chosen)
    if items is not None:
        return items[0].list.eval(text(pl.element(), items[1]))
    value = text(*chosen)
    return pl.when(value.is_not_null()).then(pl.concat_list(value))


def _of_the_sandbox(per_depth: int, depths_wanted: Sequence[int]) -> pl.DataFrame:
    from eva_data.sandbox.world import depth, heldout_prompts, parse

    prompts = heldout_prompts(per_depth, depths_wanted)
    depths = [depth(task) for prompt in prompts if (task := parse(prompt)) is not None]
    table = pl.DataFrame(
        {
            "prompt": [[{"role": "user", "content": prompt}] for prompt in prompts],
            "category": [f"depth {number}" for number in depths],
        },
        schema_overrides={"prompt": MESSAGES},
    ).with_columns(prompt_id=prompt_id(pl.col("prompt")))
    missing = [pl.lit(None, dtype=SET[name]).alias(name) for name in SET if name not in table.columns]
    return table.with_columns(missing).select(SET.names()).sort("prompt_id")
