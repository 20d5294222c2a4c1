"""Reads human prompts from files and Hub datasets, for iteration 1 and later iterations.

Nothing is dropped silently: a row that cannot be a prompt goes to `rejects` with its reason. Which seeds an iteration
gets depends on their content and the seed, not on the order of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import polars as pl

from eva_data.config import Seeds, TableModel
from eva_data.dataset.staleness import without_folders
from eva_data.environments.posing import posed
from eva_data.errors import DataError, StaleError
from eva_data.tables.ids import last_turn, prompt_id, uniform_draw
from eva_data.tables.reading import Source, open_hub, open_path
from eva_data.tables.redaction import without_secrets
from eva_data.tables.schemas import CARRIED, PROMPTS, REJECTS, conform
from eva_data.tables.shapes.conversations import is_transcript, to_the_user, transcripts, turns_after_the_user
from eva_data.tables.shapes.prompts import Prompts, prompts_of
from eva_data.tables.shapes.scored import Shape

_ROLES = ("system", "user", "assistant")

Note = Callable[[str], None]


def unheard(_: str) -> None:
    """Ignore a note."""


def read_seeds(seeds: Seeds, seed: int, note: Note = unheard) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All usable seed prompts in their drawn order, and the rejects (REJECTS).

    The first frame has one row per distinct prompt: `prompt_id`, `prompt` and `source`, and `answer` and `info` if an
    environment made them. A conversation that goes on after its last user turn is cut there. `note` receives sentences
    for the user on how the source was read. Raise DataError if there is no such file or column, or not a single usable
    row.
    """
    if seeds.environment is not None:
        return accept(_posed(seeds, seed), seed)
    source, prompts = _opened(seeds, seed)
    turns = pl.col("prompt")
    table = source.collect(
        source.map(lambda frame, schema: frame.select(asked=prompts.of(schema)).unnest("asked"))
        .with_columns(
            after=turns_after_the_user(turns), transcript=is_transcript(turns.list.first().struct.field("content"))
        )
        .with_columns(prompt=transcripts(to_the_user(turns)), source=pl.lit(source.name))
    )
    for text in (*source.notes, *said(prompts)):
        note(text)
    if cut := int((table["after"] > 0).sum()):
        note(f"{cut} of {table.height} conversations go on after their last user turn: they are prompts up to there")
    if split := int(table["transcript"].sum()):
        note(f"{split} of {table.height} prompts are transcripts of Human and Assistant: each is a conversation")
    return accept(table.select("prompt", "reason", "source"), seed)


def check_seeds(seeds: Seeds, seed: int) -> None:
    """Raise DataError if the seeds cannot be read or have no column of prompts."""
    if seeds.environment is not None:
        _posed(seeds, seed)
    else:
        _opened(seeds, seed)


def _posed(seeds: Seeds, seed: int) -> pl.DataFrame:
    """The prompts of an environment with `reason`, `source` and the columns that they carry."""
    assert seeds.environment is not None and seeds.size is not None and not isinstance(seeds.config, str)
    own = seed if seeds.seed is None else seeds.seed
    return posed(seeds.environment, size=seeds.size, seed=own, config=seeds.config or {})


def _opened(seeds: Seeds, seed: int) -> tuple[Source, Prompts]:
    if seeds.sandbox is not None:
        from eva_data.sandbox.steps import crowded_prompts
        from eva_data.sandbox.world import seed_prompts

        drawn = crowded_prompts if seeds.world == "crowded" else seed_prompts
        world = pl.LazyFrame({"prompt": drawn(seeds.sandbox, seed)})
        source = Source("sandbox", "seeds.sandbox", (("sandbox", world),))
    else:
        source = open_source(seeds, "seeds")
    return source, prompts_of(source, seeds.column, seeds.input, "seeds")


def open_source(block: Seeds | TableModel, key: str) -> Source:
    """The table that a block of the settings names by path or Hub id; `key` is the block's name."""
    if block.path is not None:
        return open_path(block.path, f"{key}.path", split=block.split, encoding=block.encoding)
    assert block.dataset is not None and not isinstance(block.config, dict)
    opened = open_hub(block.dataset, block.config, block.split, block.revision, f"{key}.dataset")
    return replace(opened, name=without_folders(block.dataset, "dataset"))


def said(*found: Prompts | Shape | None) -> list[str]:
    """Notes for the user on where prompts and responses were found."""
    return [what.says for what in found if what is not None and what.says is not None]


def accept(table: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The result of `read_seeds` for a table of `prompt`, `source` and `reason`, which is null for a usable row.

    The columns CARRIED stay if the table has them.
    A secret of this machine's environment that a prompt holds is masked first, so that its id is the hash of the text
    that is asked and published.
    """
    judged = judge_prompts(table)
    refuse_none(table.height, judged.distinct.height, judged.reasons)
    draw = uniform_draw(pl.col("prompt_id"), seed=seed, stage="seeds", iteration=0)
    return judged.distinct.sort(draw, "prompt_id"), judged.rejects


@dataclass(frozen=True)
class JudgedPrompts:
    """Which prompts of a table are usable."""

    distinct: pl.DataFrame
    """`prompt_id`, `prompt`, `source` and the carried columns of the usable prompts, one row per prompt."""
    rejects: pl.DataFrame
    """REJECTS of stage seeds."""
    reasons: pl.DataFrame
    """How many rows have which `reason`; null are the usable ones."""


def judge_prompts(table: pl.DataFrame) -> JudgedPrompts:
    """What `accept` says of the prompts, which depends on the rows of each prompt alone."""
    table = without_secrets(table)
    contents = pl.col("prompt").list.eval(pl.element().struct.field("content"))
    roles = pl.col("prompt").list.eval(pl.element().struct.field("role"))
    judged = table.with_columns(
        reason=pl.when(pl.col("reason").is_not_null())
        .then("reason")
        .when(pl.col("prompt").is_null() | contents.list.eval(pl.element().is_null()).list.any())
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
    # Spellings that normalise to the same prompt are one seed. Which of them stays must not depend on the file's order.
    carried = [column for column in CARRIED if column in usable.columns]
    distinct = usable.sort("prompt_id", contents.list.join("\x1e"), *carried).unique(
        "prompt_id", keep="first", maintain_order=True
    )
    counted = judged.group_by("reason").len().sort("reason")
    return JudgedPrompts(distinct.select("prompt_id", "prompt", "source", *carried), rejects, counted)


def refuse_none(rows: int, usable: int, reasons: pl.DataFrame) -> None:
    """Raise DataError if there are no rows, or if no prompt of them is usable, by the `reasons` of JudgedPrompts."""
    if rows == 0:
        raise DataError("there are columns but no rows in what should hold prompts: expected at least one row")
    if usable == 0:
        counts = reasons.group_by("reason").agg(pl.col("len").sum()).sort("reason").rows()
        raise DataError(f"of {rows} seeds none can be used: {dict(counts)}")


def seed_block(seeds: pl.DataFrame, iteration: int, per_iteration: int | None) -> pl.DataFrame:
    """PROMPTS of the seeds that belong to `iteration`. Iterations get disjoint blocks of the drawn order.

    Raise StaleError if no seed is left for it.
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
    """PROMPTS of seed prompts: each is its own root, at depth 0."""
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
