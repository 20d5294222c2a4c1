"""Makes the tables of iteration 1 from scored responses that already exist, in files or Hub datasets of any shape."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from eva_data.config import TableModel
from eva_data.dataset.seeds import Note, accept, as_prompts, open_source, said, unheard
from eva_data.errors import DataError
from eva_data.tables.flow import Flow
from eva_data.tables.ids import prompt_id
from eva_data.tables.reading import Source
from eva_data.tables.redaction import without_secrets
from eva_data.tables.schemas import REJECTS, RESPONSES, conform
from eva_data.tables.shapes.completions import is_ranking
from eva_data.tables.shapes.conversations import is_transcript, transcripts
from eva_data.tables.shapes.prompts import Prompts, prompts_of
from eva_data.tables.shapes.recognise import shape_of
from eva_data.tables.shapes.scored import NOT_A_NUMBER, Named, Shape, responses_in


class TableRows(NamedTuple):
    """The tables of iteration 1 that a table of scored responses gives."""

    prompts: pl.DataFrame
    """PROMPTS: one row per distinct prompt."""
    responses: pl.DataFrame
    """RESPONSES: one row per response with a finite reward."""
    rejects: pl.DataFrame
    """REJECTS: one row per row of the table that is not in `responses`."""
    flow: Flow


def read_table(table: TableModel, seed: int, note: Note = unheard) -> TableRows:
    """Make the tables of iteration 1 from scored responses that already exist.

    Responses of one prompt are numbered in the order of (model, text, reward), so that the order of the file does not
    count. A row goes to `rejects` if its response is null, if its reward is not a finite number or belongs to no known
    response, or if its prompt is unusable. `note` receives sentences for the user on how the source was read. Raise
    DataError if the source cannot be read or has no usable row.
    """
    return read_source(open_source(table, "solver"), _named(table), seed, note)


def read_source(source: Source, named: Named, seed: int, note: Note = unheard) -> TableRows:
    """The same for a table that is open, whose columns are `named`."""
    prompts, shape, lower_is_better = _shaped(source, named)
    asked = Prompts("", None, None).of if prompts is None else prompts.of
    rows = source.collect(
        source.map(lambda frame, schema: responses_in(frame, schema, shape, asked, lower_is_better=lower_is_better))
        .with_columns(solver=pl.col("model") if named.model else pl.lit(f"table:{source.name}"))
        .unnest("prompt")
        .with_columns(transcript=is_transcript(pl.col("prompt").list.first().struct.field("content")))
        .with_columns(prompt=transcripts(pl.col("prompt")), source=pl.lit(source.name))
    )
    # Masked before anything is named or ordered by its content.
    rows = without_secrets(rows).with_columns(prompt_id=prompt_id(pl.col("prompt")))
    reward = f"-{shape.reward}" if lower_is_better else shape.reward
    for text in (*source.notes, *said(shape, prompts)):
        note(text)
    if lower_is_better:
        note(f"of `{shape.reward}` the lower is the better: the rewards are its negative")
    if split := int(rows["transcript"].sum()):
        note(f"{split} of {rows.height} responses answer transcripts of Human and Assistant: each is a conversation")
    _refuse_without_numbers(rows, f"{named.block}reward", shape.reward, source.name)
    bad = pl.col("reason").is_not_null()
    readable = rows.filter(~bad)
    if readable.is_empty() and rows.height:
        reasons = dict(rows.group_by("reason").len().sort("reason").rows())
        raise DataError(f"of the prompts of {rows.height} responses in {source.name} none can be used: {reasons}")
    distinct = readable.unique("prompt_id", keep="any").select("prompt", "reason", "source")
    prompts_table, bad_prompts = accept(distinct, seed)
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


def _named(table: TableModel) -> Named:
    return Named(
        table.prompt, table.response, table.reward, table.model, table.input, table.shape, table.lower_is_better
    )


def _shaped(source: Source, named: Named) -> tuple[Prompts | None, Shape, bool]:
    """A source's prompts (None if the responses hold them), its shape, and whether a lower reward is better."""
    shape = shape_of(source, named)
    key = named.block.removesuffix(".")
    prompts = None if shape.prompt is not None else prompts_of(source, named.prompt, named.under, key)
    lower = is_ranking(shape.reward) if named.lower_is_better is None else named.lower_is_better
    return prompts, shape, lower


def _refuse_without_numbers(rows: pl.DataFrame, key: str, reward: str, source: str) -> None:
    """Raise DataError if the column of the reward has values and none of them is a number."""
    unreadable = rows.filter(pl.col("why") == NOT_A_NUMBER)
    if unreadable.height and rows["reward"].null_count() == rows.height:
        raise DataError(
            f"`{key}` is `{reward}`, of which not one value in {source} is a number: name a column of numbers"
        )


def check_table(table: TableModel) -> None:
    """Raise DataError if a table of scored responses cannot be read or lacks the needed columns."""
    _shaped(open_source(table, "solver"), _named(table))
