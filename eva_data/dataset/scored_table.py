"""Makes the tables of iteration 1 from scored responses that already exist, in files or Hub datasets of any shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import polars as pl

from eva_data.config import TableModel
from eva_data.dataset.seeds import Note, as_prompts, judge_prompts, open_source, refuse_none, said, unheard
from eva_data.dataset.spool import Spool
from eva_data.errors import DataError
from eva_data.tables.flow import Flow
from eva_data.tables.ids import prompt_id
from eva_data.tables.ranges import ranges_for
from eva_data.tables.reading import Schema, Source
from eva_data.tables.redaction import without_secrets
from eva_data.tables.schemas import PROMPTS, REJECTS, RESPONSES, conform, empty
from eva_data.tables.shapes.completions import is_ranking
from eva_data.tables.shapes.conversations import is_transcript, transcripts
from eva_data.tables.shapes.prompts import Prompts, prompts_of
from eva_data.tables.shapes.recognise import shape_of
from eva_data.tables.shapes.scored import NOT_A_NUMBER, Named, Shape, responses_in

READ_ROWS = 20_000
"""Rows of a source that are read together."""

_FEW = 1_000

_TEXTS = ("reason", "response", "why", "model", "solver", "source", "prompt_id")
_ROWS = pl.Schema(
    [
        ("prompt", PROMPTS["prompt"]),
        *((name, pl.String()) for name in _TEXTS),
        ("reward", pl.Float64()),
        ("transcript", pl.Boolean()),
    ]
)
"""One row per response that was read."""


class TableRows(NamedTuple):
    """The tables of iteration 1 that a table of scored responses gives."""

    prompts: pl.DataFrame
    """PROMPTS: one row per distinct prompt."""
    responses: pl.DataFrame
    """RESPONSES: one row per response with a finite reward."""
    rejects: pl.DataFrame
    """REJECTS: one row per row of the table that is not in `responses`."""
    flow: Flow


class TableParts(NamedTuple):
    """The same tables, which lie in files if they are large."""

    prompts: pl.LazyFrame
    responses: pl.LazyFrame
    rejects: pl.LazyFrame
    flow: Flow


def read_table(table: TableModel, note: Note = unheard) -> TableRows:
    """Make the tables of iteration 1 from scored responses that already exist.

    Responses of one prompt are numbered in the order of (model, text, reward), so that the order of the file does not
    count. A row goes to `rejects` if its response is null, if its reward is not a finite number or belongs to no known
    response, or if its prompt is unusable. `note` receives sentences for the user on how the source was read. Raise
    DataError if the source cannot be read or has no usable row.
    """
    return read_source(open_source(table, "solver"), _named(table), note)


def spool_table(table: TableModel, folder: Path, note: Note = unheard) -> TableParts:
    """The same, of a table of any size: what does not fit into memory lies in `folder`, as long as that is there."""
    return _spooled(open_source(table, "solver"), _named(table), folder, note)


def read_source(source: Source, named: Named, note: Note = unheard) -> TableRows:
    """The same as `read_table` for a table that is open, whose columns are `named`."""
    *tables, flow = _spooled(source, named, None, note)
    prompts, responses, rejects = (table.collect() for table in tables)
    return TableRows(prompts, responses, rejects, flow)


def some_prompts(table: TableModel) -> pl.DataFrame:
    """PROMPTS of the first rows that a table of scored responses has; none if it has no rows."""
    source, named = open_source(table, "solver"), _named(table)
    first = next(source.batches(_reader(source, named, *_shaped(source, named)), _FEW), None)
    if first is None:
        return empty(PROMPTS)
    found = first.filter(pl.col("reason").is_null()).select("prompt", "reason", "source")
    return as_prompts(judge_prompts(found).distinct, 1)


def _reader(
    source: Source, named: Named, prompts: Prompts | None, shape: Shape, lower_is_better: bool
) -> Callable[[pl.LazyFrame, Schema], pl.LazyFrame]:
    """What makes one row per response of the rows of a source."""
    asked = Prompts("", None, None).of if prompts is None else prompts.of

    def read(frame: pl.LazyFrame, schema: Schema) -> pl.LazyFrame:
        return (
            responses_in(frame, schema, shape, asked, lower_is_better=lower_is_better)
            .with_columns(solver=pl.col("model") if named.model else pl.lit(f"table:{source.name}"))
            .unnest("prompt")
            .with_columns(transcript=is_transcript(pl.col("prompt").list.first().struct.field("content")))
            .with_columns(prompt=transcripts(pl.col("prompt")), source=pl.lit(source.name))
        )

    return read


def _spooled(source: Source, named: Named, folder: Path | None, note: Note) -> TableParts:
    prompts, shape, lower_is_better = _shaped(source, named)
    reader = _reader(source, named, prompts, shape, lower_is_better)
    read = Spool(folder, "read", _ROWS, key="prompt_id")
    tally = _Tally()
    for batch in source.batches(reader, READ_ROWS):
        # Masked before anything is named or ordered by its content.
        rows = without_secrets(batch).with_columns(prompt_id=prompt_id(pl.col("prompt")))
        tally.count(rows)
        read.add(conform(rows, _ROWS))
    for text in (*source.notes, *said(shape, prompts)):
        note(text)
    if lower_is_better:
        note(f"of `{shape.reward}` the lower is the better: the rewards are its negative")
    if tally.split:
        note(
            f"{tally.split} of {tally.rows} responses answer transcripts of Human and Assistant: each is a conversation"
        )
    tally.refuse_without_numbers(f"{named.block}reward", shape.reward, source.name)
    tally.refuse_without_prompts(source.name)
    reward = f"-{shape.reward}" if lower_is_better else shape.reward
    return _judged(read, folder, f"table:{reward}")


class _Tally:
    """What is counted while the rows are read."""

    def __init__(self) -> None:
        self.rows = self.split = self.without_number = self.without_reward = 0
        self.reasons: Counter[str | None] = Counter()

    def count(self, rows: pl.DataFrame) -> None:
        self.rows += rows.height
        self.split += int(rows["transcript"].sum())
        self.without_number += int((rows["why"] == NOT_A_NUMBER).sum())
        self.without_reward += rows["reward"].null_count()
        self.reasons.update(dict(rows.group_by("reason").len().iter_rows()))

    def refuse_without_numbers(self, key: str, reward: str, source: str) -> None:
        """Raise DataError if the column of the reward has values and none of them is a number."""
        if self.without_number and self.without_reward == self.rows:
            raise DataError(
                f"`{key}` is `{reward}`, of which not one value in {source} is a number: name a column of numbers"
            )

    def refuse_without_prompts(self, source: str) -> None:
        """Raise DataError if there are rows and no row has a prompt that can be read."""
        if self.rows and not self.reasons[None]:
            reasons = dict(sorted((str(reason), count) for reason, count in self.reasons.items() if reason is not None))
            raise DataError(f"of the prompts of {self.rows} responses in {source} none can be used: {reasons}")


def _judged(read: Spool, folder: Path | None, reward_model: str) -> TableParts:
    """The tables that follow from the rows, made range by range of the prompts' ids."""
    prompts, responses = Spool(folder, "prompts", PROMPTS), Spool(folder, "responses", RESPONSES)
    rejects, reasons, readable = Spool(folder, "rejects", REJECTS), [], 0
    for part in ranges_for(read.height):
        rows = part.with_nulls(read.table()).collect(engine="streaming")
        found = rows.filter(pl.col("reason").is_null()).unique("prompt_id", keep="any")
        accepted = judge_prompts(found.select("prompt", "reason", "source"))
        reasons.append(accepted.reasons)
        readable += found.height
        judged = _with_reasons(rows, accepted.rejects)
        prompts.add(as_prompts(accepted.distinct, 1))
        responses.add(_numbered(judged.filter(pl.col("reason").is_null()), reward_model))
        rejects.add(conform(judged.filter(pl.col("reason").is_not_null()), REJECTS))
    refuse_none(readable, prompts.height, pl.concat(reasons))
    flow = Flow("table", "responses", read.height, responses.height, rejects.height)
    return TableParts(prompts.table(), responses.table(), rejects.table(), flow)


def _with_reasons(rows: pl.DataFrame, bad_prompts: pl.DataFrame) -> pl.DataFrame:
    """The rows of a table with their stage and with the `reason` why a row gives no response, else null."""
    bad = pl.col("reason").is_not_null()
    why_bad = bad_prompts.select("prompt_id", "stage", unusable="reason")
    return rows.join(why_bad, on="prompt_id", how="left", nulls_equal=True, maintain_order="left").with_columns(
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


def _numbered(rows: pl.DataFrame, reward_model: str) -> pl.DataFrame:
    """RESPONSES of the usable rows."""
    numbered = rows.sort("prompt_id", "solver", "response", "reward").with_columns(
        response_idx=pl.int_range(pl.len()).over("prompt_id"),
        reward_model=pl.lit(reward_model),
        stage=pl.lit("respond"),
        reused=pl.lit(False),
    )
    return conform(numbered, RESPONSES)


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


def check_table(table: TableModel) -> None:
    """Raise DataError if a table of scored responses cannot be read or lacks the needed columns."""
    _shaped(open_source(table, "solver"), _named(table))
