"""Finds prompts that repeat a benchmark, by runs of words that they share (GPT-3, arXiv 2005.14165)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eva_data.errors import ConfigError, DataError
from eva_data.evolve.elimination.ngrams import WORDS, ngram_hashes
from eva_data.evolve.elimination.shared_runs import SharedRuns
from eva_data.tables.reading import described, open_path
from eva_data.tables.rules import RULES
from eva_data.tables.shapes.conversations import is_conversation, prompt
from eva_data.tables.shapes.values import is_text

_BATCH = 50_000


@dataclass(frozen=True)
class ReferenceSet:
    """Texts that prompts must not repeat. The reason of a reject holds `name`."""

    name: str
    texts: pl.DataFrame
    """One column, `text`."""


def read_reference_set(name: str, path: Path, *, column: str) -> ReferenceSet:
    """Read the texts of a file, folder or glob, in any format that seeds may have.

    The column holds strings or conversations; every user turn of a conversation is a text. Nulls are skipped. Raise
    DataError if the file is missing or cannot be read, or if the column is missing or has another type.
    """
    source = open_path(path, f"evolve.benchmarks[{name}].path")
    schema = source.schema
    if column not in schema:
        raise DataError(f"the benchmark `{name}` ({path}) has no column `{column}`; name one of {', '.join(schema)}")
    if not (is_text(schema[column]) or is_conversation(schema[column])):
        raise DataError(
            f"the column `{column}` of the benchmark `{name}` ({path}) holds {described(schema[column])}; "
            "name one that holds strings or lists of {role, content}"
        )
    texts = source.map(
        lambda frame, own: frame.select(text=_user_turns(prompt(pl.col(column), own[column]).struct.field("prompt")))
    )
    return ReferenceSet(name, source.collect(texts.explode("text").drop_nulls()))


def contaminated(
    prompts: pl.DataFrame | Iterable[pl.DataFrame], sets: Sequence[ReferenceSet], *, words: int = 13, rules: int = RULES
) -> pl.DataFrame:
    """Find prompts with a user turn that shares a run of `words` words with a text of `sets`, or holds a whole text.

    Case, punctuation and spacing do not count, and letters of scripts without spaces count as parts of words
    (`word_runs`). A text of fewer than `words` words matches a turn that holds all its words in a row. A text of fewer
    than SHORTEST words only matches a turn of exactly the same words. By `rules` 1 this holds for every text of fewer
    than `words` words, and each letter of a script without spaces is a word.

    `prompts` has `prompt_id` and `prompt`, and may be given in parts. The result has one row per contaminated prompt:
    `prompt_id`, and the name of the first matching `set` in the given order. Raise ConfigError if `words` is below 1 or
    a name of a set is used twice.
    """
    names = [reference.name for reference in sets]
    if len(set(names)) < len(names):
        raise ConfigError(f"evolve.benchmarks: of the names {names} one occurs twice; rename it")
    if words < 1:
        raise ConfigError(f"evolve.ngram is {words}; it is a number of words, 1 or more")
    empty = pl.DataFrame(schema={"prompt_id": pl.String, "set": pl.String})
    if not sets:
        return empty
    parts = [prompts] if isinstance(prompts, pl.DataFrame) else prompts
    batches = (batch for part in parts for batch in part.iter_slices(_BATCH))
    if rules < 2:
        grams = _Grams.of(sets, words)
        found = [grams.met_by(batch) for batch in batches]
    else:
        texts = [each.texts.select("text", pl.lit(place, pl.UInt32).alias("set")) for place, each in enumerate(sets)]
        references = SharedRuns.of(pl.concat(texts), words)
        found = [_first_met(references, batch) for batch in batches]
    name = pl.col("set").replace_strict(dict(enumerate(names)), return_dtype=pl.String)
    return pl.concat([empty, *(batch.with_columns(name) for batch in found)])


def _first_met(references: SharedRuns, prompts: pl.DataFrame) -> pl.DataFrame:
    """One row per prompt that matches: `prompt_id` and the number of the first matching `set`."""
    turns = prompts.select("prompt_id", text=_user_turns(pl.col("prompt"))).explode("text").with_row_index("row")
    rows = references.met_by(turns)
    return rows.join(turns.select("row", "prompt_id"), on="row").group_by("prompt_id").agg(pl.col("set").min())


@dataclass(frozen=True)
class _Grams:
    """Runs of words in the sets' texts as rules 1 compare them. A shorter text is one run, which only it equals."""

    words: int
    grams: pl.LazyFrame
    """Columns: `ngram`, and the number of the first `set` that has it."""

    @classmethod
    def of(cls, sets: Sequence[ReferenceSet], words: int) -> _Grams:
        found = [
            ngram_hashes(reference.texts.lazy().with_row_index("row"), n=words, tokens=WORDS)
            .select("ngram", set=pl.lit(place, pl.UInt32))
            .unique()
            for place, reference in enumerate(sets)
        ]
        return cls(words, pl.concat(found).group_by("ngram").agg(pl.col("set").min()).collect().lazy())

    def met_by(self, prompts: pl.DataFrame) -> pl.DataFrame:
        """One row per prompt that matches: `prompt_id` and the first matching `set`."""
        turns = _turns(prompts).lazy()
        return (
            ngram_hashes(turns.select("row", "text"), n=self.words, tokens=WORDS)
            .join(self.grams, on="ngram")
            .join(turns.select("row", "prompt_id"), on="row")
            .group_by("prompt_id")
            .agg(pl.col("set").min())
            .collect()
        )


def _turns(prompts: pl.DataFrame) -> pl.DataFrame:
    """One row per user turn: `row`, `prompt_id` and `text`."""
    return prompts.select("prompt_id", text=_user_turns(pl.col("prompt"))).explode("text").with_row_index("row")


def _user_turns(prompt: pl.Expr) -> pl.Expr:
    is_user = pl.element().struct.field("role") == "user"
    return prompt.list.eval(pl.element().filter(is_user).struct.field("content"))
