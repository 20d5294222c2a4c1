"""Human prompts and scored responses from files and Hub datasets, as the tables of iteration 1.

Nothing is dropped without a word: what cannot be a prompt goes to `rejects` with its reason. Which seeds an
iteration gets follows from their content and the seed, not from the order of the file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import polars as pl

from eva_data.config import Seeds, TableModel
from eva_data.errors import DataError, StaleError
from eva_data.tables.flow import Flow
from eva_data.tables.ids import last_turn, prompt_id, uniform_draw
from eva_data.tables.reading import Source, open_hub, open_path
from eva_data.tables.schemas import PROMPTS, REJECTS, RESPONSES, conform
from eva_data.tables.shapes.completions import is_ranking
from eva_data.tables.shapes.conversations import is_transcript, to_the_user, transcripts, turns_after_the_user
from eva_data.tables.shapes.prompts import Prompts, prompts_of
from eva_data.tables.shapes.recognise import shape_of
from eva_data.tables.shapes.scored import NOT_A_NUMBER, Named, Shape, responses_in

_ROLES = ("system", "user", "assistant")

Note = Callable[[str], None]


def _unheard(_: str) -> None:
    return None


def read_seeds(seeds: Seeds, seed: int, note: Note = _unheard) -> tuple[pl.DataFrame, pl.DataFrame]:
    """All usable seed prompts in their drawn order, and the rejects.

    The first frame has `prompt_id`, `prompt` and `source`, one row per distinct prompt. A conversation that goes on
    after its last user turn is a prompt up to there. `note` is told what a reader should know of how the source was
    read. Raises DataError where there is no file, no such column or not one usable row.
    """
    source, prompts = _opened(seeds, seed)
    turns = pl.col("prompt")
    table = source.collect(
        source.map(lambda frame, schema: frame.select(asked=prompts.of(schema)).unnest("asked"))
        .with_columns(
            after=turns_after_the_user(turns), transcript=is_transcript(turns.list.first().struct.field("content"))
        )
        .with_columns(prompt=transcripts(to_the_user(turns)), source=pl.lit(source.name))
    )
    for text in (*source.notes, *_said(prompts)):
        note(text)
    if cut := int((table["after"] > 0).sum()):
        note(f"{cut} of {table.height} conversations go on after their last user turn: they are prompts up to there")
    if split := int(table["transcript"].sum()):
        note(f"{split} of {table.height} prompts are transcripts of Human and Assistant: each is a conversation")
    return _accept(table.select("prompt", "reason", "source"), seed)


def check_seeds(seeds: Seeds, seed: int) -> None:
    """Raise DataError where the seeds cannot be read, or have no column of prompts."""
    _opened(seeds, seed)


def check_table(table: TableModel) -> None:
    """Raise DataError where a table of scored responses cannot be read, or has no such columns."""
    _shaped(table)


def _opened(seeds: Seeds, seed: int) -> tuple[Source, Prompts]:
    if seeds.sandbox is not None:
        from eva_data.sandbox.world import seed_prompts

        world = pl.LazyFrame({"prompt": seed_prompts(seeds.sandbox, seed)})
        source = Source("sandbox", "seeds.sandbox", (("sandbox", world),))
    else:
        source = _source(seeds, "seeds")
    return source, prompts_of(source, seeds.column, seeds.input, "seeds")


def _source(block: Seeds | TableModel, key: str) -> Source:
    if block.path is not None:
        return open_path(block.path, f"{key}.path", split=block.split, encoding=block.encoding)
    assert block.dataset is not None
    return open_hub(block.dataset, block.config, block.split, block.revision, f"{key}.dataset")


def _said(*found: Prompts | Shape) -> list[str]:
    return [what.says for what in found if what.says is not None]


def _accept(table: pl.DataFrame, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
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
    # Spellings that normalise to one prompt are one seed; which of them stays must not hang on the file's order.
    distinct = usable.sort("prompt_id", contents.list.join("\x1e")).unique(
        "prompt_id", keep="first", maintain_order=True
    )
    if table.is_empty():
        raise DataError("there are columns but no rows in what should hold prompts: expected at least one row")
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


def read_table(table: TableModel, seed: int, note: Note = _unheard) -> TableRows:
    """Scored responses that already exist, as the tables of iteration 1.

    Responses of one prompt are numbered in the order of (model, text, reward), so that the order of the file
    does not count. A null response, a reward that is no finite number and one that cannot be given to a response go to
    `rejects`; so do the responses to a prompt that cannot be one. `note` is told what a reader should know of how the
    source was read.
    """
    source, prompts, shape, lower_is_better = _shaped(table)
    asked = Prompts("", None, None).of if prompts is None else prompts.of
    rows = source.collect(
        source.map(lambda frame, schema: responses_in(frame, schema, shape, asked, lower_is_better=lower_is_better))
        .with_columns(solver=pl.col("model") if table.model else pl.lit(f"table:{source.name}"))
        .unnest("prompt")
        .with_columns(transcript=is_transcript(pl.col("prompt").list.first().struct.field("content")))
        .with_columns(prompt=transcripts(pl.col("prompt")))
        .with_columns(prompt_id=prompt_id(pl.col("prompt")), source=pl.lit(source.name))
    )
    reward = f"-{shape.reward}" if lower_is_better else shape.reward
    for text in (*source.notes, *_said(shape), *(_said(prompts) if prompts else ())):
        note(text)
    if lower_is_better:
        note(f"of `{shape.reward}` the lower is the better: the rewards are its negative")
    if split := int(rows["transcript"].sum()):
        note(f"{split} of {rows.height} responses answer transcripts of Human and Assistant: each is a conversation")
    _refuse_without_numbers(rows, shape.reward, source.name)
    bad = pl.col("reason").is_not_null()
    readable = rows.filter(~bad)
    if readable.is_empty() and rows.height:
        reasons = dict(rows.group_by("reason").len().sort("reason").rows())
        raise DataError(f"of the prompts of {rows.height} responses in {source.name} none can be used: {reasons}")
    distinct = readable.unique("prompt_id", keep="any").select("prompt", "reason", "source")
    prompts_table, bad_prompts = _accept(distinct, seed)
    why_bad = bad_prompts.select("prompt_id", "stage", unusable="reason")
    judged = rows.join(why_bad, on="prompt_id", how="left", nulls_equal=True).with_columns(
        stage=pl.when(bad).then(pl.lit("seeds")).otherwise(pl.coalesce("stage", pl.lit("reward"))),
        reason=pl.when(bad)
        .then("reason")
        .when(pl.col("unusable").is_not_null())
        .then("unusable")
        .when(pl.col("response").is_null())
        .then(pl.lit("null_response"))
        .when(pl.col("why").is_not_null())
        .then("why")
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
            reward_model=pl.lit(f"table:{reward}"),
            stage=pl.lit("respond"),
            reused=pl.lit(False),
        )
    )
    flow = Flow("table", "responses", rows.height, responses.height, judged["reason"].count())
    rejects = conform(judged.filter(pl.col("reason").is_not_null()), REJECTS)
    return TableRows(as_prompts(prompts_table, 1), conform(responses, RESPONSES), rejects, flow)


def _shaped(table: TableModel) -> tuple[Source, Prompts | None, Shape, bool]:
    """The source, where its prompts are if not in the responses themselves, its shape, and whether lower is better."""
    source = _source(table, "solver")
    named = Named(
        table.prompt, table.response, table.reward, table.model, table.input, table.shape, table.lower_is_better
    )
    shape = shape_of(source, named)
    prompts = None if shape.prompt is not None else prompts_of(source, table.prompt, table.input, "solver")
    lower = is_ranking(shape.reward) if table.lower_is_better is None else table.lower_is_better
    return source, prompts, shape, lower


def _refuse_without_numbers(rows: pl.DataFrame, reward: str, source: str) -> None:
    """Raise DataError where something stands for every reward and nothing of it is a number."""
    unreadable = rows.filter(pl.col("why") == NOT_A_NUMBER)
    if unreadable.height and rows["reward"].null_count() == rows.height:
        raise DataError(
            f"`solver.reward` is `{reward}`, of which not one value in {source} is a number: name a column of numbers"
        )
