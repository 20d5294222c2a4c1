"""Prompts that repeat a benchmark: runs of words shared with a reference set (GPT-3, arXiv 2005.14165)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from eva_data.errors import ConfigError, DataError
from eva_data.evolve.elimination.word_runs import WORD, WordRuns
from eva_data.tables.reading import described, open_path
from eva_data.tables.shapes.conversations import is_conversation, prompt
from eva_data.tables.shapes.values import is_text

SHORTEST = 5
"""Words. A benchmark's text of fewer is met only by a prompt that says nothing else: people say it by chance, too."""
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
    """The `prompts` of which a user turn shares a run of `words` words with a text of `sets`, or holds all of it.

    Case, punctuation and spacing do not count, and letters of scripts without spaces count as parts of words
    (`word_runs`). A text of `sets` with fewer than `words` words is met by a turn that holds all of it in a row, and
    one with fewer than SHORTEST only by a turn of exactly its own words. `prompts` has `prompt_id` and `prompt`;
    returned is one row per contaminated prompt: `prompt_id` and the name of the first `set` that it meets, in the
    order given. Raises ConfigError for `words` below 1 and for a set name used twice.
    """
    names = [reference.name for reference in sets]
    if len(set(names)) < len(names):
        raise ConfigError(f"evolve.benchmarks: of the names {names} one occurs twice; rename it")
    if words < 1:
        raise ConfigError(f"evolve.ngram is {words}; it is a number of words, 1 or more")
    empty = pl.DataFrame(schema={"prompt_id": pl.String, "set": pl.String})
    if not sets:
        return empty
    references = _References.of(sets, words)
    found = [references.met_by(batch) for batch in prompts.iter_slices(_BATCH)]
    name = pl.col("set").replace_strict(dict(enumerate(names)), return_dtype=pl.String)
    return pl.concat([empty, *(batch.with_columns(name) for batch in found)])


@dataclass(frozen=True)
class _References:
    """Runs of the sets' texts, each with the place of the first `set` that has it."""

    words: int
    long: pl.DataFrame
    """`run`, `set`: runs of `words` words."""
    short: pl.DataFrame
    """`run`, `set`, `words`, `units`: whole texts that are shorter."""

    @classmethod
    def of(cls, sets: Sequence[ReferenceSet], words: int) -> _References:
        long, short = [], []
        for place, reference in enumerate(sets):
            runs = WordRuns.of(reference.texts.with_row_index("row"))
            in_set = pl.lit(place, pl.UInt32).alias("set")
            long.append(runs.long(words * WORD).select("run", in_set).unique())
            whole = runs.whole().filter(pl.col("units") < words * WORD)
            short.append(whole.select("run", in_set, "words", "units").unique())
        return cls(
            words,
            pl.concat(long).group_by("run").agg(pl.col("set").min()),
            pl.concat(short).group_by("run").agg(pl.col("set").min(), pl.col("words", "units").first()),
        )

    def met_by(self, prompts: pl.DataFrame) -> pl.DataFrame:
        """`prompt_id` and the first `set` that each of the prompts meets."""
        turns = prompts.select("prompt_id", text=_user_turns(pl.col("prompt"))).explode("text").with_row_index("row")
        runs = WordRuns.of(turns)
        inside = self.short.filter(pl.col("units") >= SHORTEST * WORD)
        met = [
            runs.long(self.words * WORD).join(self.long, on="run"),
            runs.whole().select("row", "run").join(self.short.select("run", "set"), on="run"),
            *(
                runs.of_length(length).join(inside.filter(words=length).select("run", "set"), on="run")
                for length in inside["words"].unique().sort()
            ),
        ]
        rows = pl.concat([found.select("row", "set") for found in met])
        return rows.join(turns.select("row", "prompt_id"), on="row").group_by("prompt_id").agg(pl.col("set").min())


def _user_turns(prompt: pl.Expr) -> pl.Expr:
    is_user = pl.element().struct.field("role") == "user"
    return prompt.list.eval(pl.element().filter(is_user).struct.field("content"))
