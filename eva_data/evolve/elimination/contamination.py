"""Prompts that repeat a benchmark: word n-grams shared with a reference set, (GPT-3, arXiv 2005.14165)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eva_data.errors import ConfigError, DataError
from eva_data.evolve.elimination.ngrams import WORDS, ngram_hashes
from eva_data.tables.reading import described, open_path
from eva_data.tables.shapes.conversations import is_conversation, prompt
from eva_data.tables.shapes.values import is_text

_BATCH = 50_000


@dataclass(frozen=True)
class ReferenceSet:
    """Texts that must not be trained on; `name` stands in the reason of what repeats them."""

    name: str
    texts: pl.DataFrame
    """One column, `text`."""


def read_reference_set(name: str, path: Path, *, column: str) -> ReferenceSet:
    """Read the texts of a file, folder or glob, of any format that seeds may have.

    The column holds strings, or conversations, of which each user turn is a text; nulls are skipped. Raises
    DataError for a file that is missing or cannot be read, and for a missing column or one of another type.
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


def contaminated(prompts: pl.DataFrame, sets: Sequence[ReferenceSet], *, words: int = 13) -> pl.DataFrame:
    """The `prompts` of which a user turn shares a run of `words` words with a text of `sets`.

    Case, punctuation and spacing do not count. A text with fewer words, on either side, is met only by
    exactly its own words. `prompts` has `prompt_id` and `prompt`; returned is one row per contaminated
    prompt: `prompt_id` and the name of the first `set` that it meets, in the order given. Raises
    ConfigError for `words` below 1 and for a set name used twice.
    """
    names = [reference.name for reference in sets]
    if len(set(names)) < len(names):
        raise ConfigError(f"evolve.benchmarks: of the names {names} one occurs twice; rename it")
    if words < 1:
        raise ConfigError(f"evolve.ngram is {words}; it is a number of words, 1 or more")
    grams = [
        ngram_hashes(reference.texts.lazy().with_row_index("row"), n=words, tokens=WORDS)
        .select("ngram", set=pl.lit(place, pl.UInt32))
        .unique()
        for place, reference in enumerate(sets)
    ]
    empty = pl.DataFrame(schema={"prompt_id": pl.String, "set": pl.String})
    if not grams:
        return empty
    references = pl.concat(grams).group_by("ngram").agg(pl.col("set").min()).collect().lazy()
    found = [_meeting(batch, references, words) for batch in prompts.iter_slices(_BATCH)]
    name = pl.col("set").replace_strict(dict(enumerate(names)), return_dtype=pl.String)
    return pl.concat([empty, *(batch.with_columns(name) for batch in found)])


def _meeting(prompts: pl.DataFrame, references: pl.LazyFrame, words: int) -> pl.DataFrame:
    turns = (
        prompts.lazy()
        .select("prompt_id", text=_user_turns(pl.col("prompt")))
        .explode("text")
        .with_row_index("row")
        .collect()
        .lazy()
    )
    return (
        ngram_hashes(turns.select("row", "text"), n=words, tokens=WORDS)
        .join(references, on="ngram")
        .join(turns.select("row", "prompt_id"), on="row")
        .group_by("prompt_id")
        .agg(pl.col("set").min())
        .collect()
    )


def _user_turns(prompt: pl.Expr) -> pl.Expr:
    is_user = pl.element().struct.field("role") == "user"
    return prompt.list.eval(pl.element().filter(is_user).struct.field("content"))
