"""Reference answers to prompts, from a file of the user. Of each prompt only a hash is in memory, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import file_digest
from itertools import islice
from typing import Any

import polars as pl

from eva_data.config.rewards import Answers
from eva_data.errors import DataError
from eva_data.tables.ids import normalise
from eva_data.tables.reading import open_path
from eva_data.tables.shapes.values import column, plain, text

TEXTS_AT_ONCE = 10_000
"""Texts of prompts that are hashed together."""

_HASH = ("hash", "other")
"""Two hashes of a text by different seeds, of 64 bits each. One alone tells millions of texts apart."""


class KnownAnswers:
    """The reference answers to some prompts, to look up for a few of them at a time. Prompts are equal if ids are."""

    def __init__(self, answers: Answers, prompts: Callable[[], Iterable[str]], key: str = "reward.answers") -> None:
        """`prompts` gives the texts of all prompts that may be looked up, whenever it is called.

        `key` is what error messages call the block. Raise DataError if there is no such file or column, or if a prompt
        has two different answers.
        """
        source = open_path(answers.path, f"{key}.path")
        for field, name in (("prompt", answers.prompt), ("answer", answers.answer)):
            column(name, source.schema, source.twice, f"{key}.{field}", source.name)
        wanted = pl.concat([_hashed([]), *map(_hashed, _in_parts(prompts()))]).unique()
        given = source.map(
            lambda frame, schema: frame.select(
                *_hashes(text(pl.col(answers.prompt), schema[answers.prompt])), answer=pl.col(answers.answer)
            )
        )
        found = source.collect(
            given.filter(pl.col("answer").is_not_null()).join(wanted.lazy(), on=_HASH, how="semi").unique()
        ).sort(_HASH)
        twice = found.select(_HASH).filter(pl.struct(_HASH).is_duplicated())
        if twice.height:
            first = min(self._among(twice, prompts()))
            raise DataError(
                f"{answers.path.name} has two different answers to the prompt `{first[:80]}`: keep one of them"
            )
        self._found = found.with_columns(plain(found["answer"], untyped=source.untyped))

    def of(self, prompts: Sequence[str]) -> dict[str, Any]:
        """Prompt -> reference answer, for each of `prompts` that has one."""
        different = [*dict.fromkeys(prompts)]
        asked = _hashed(different)
        place = self._found["hash"].search_sorted(asked["hash"])
        near = asked.with_columns(prompt=pl.Series(different, dtype=pl.String), place=place)
        near = near.filter(pl.col("place") < self._found.height)
        kept = self._found[near["place"]]
        is_same = (kept["hash"] == near["hash"]) & (kept["other"] == near["other"])
        return dict(zip(near["prompt"].filter(is_same), kept["answer"].filter(is_same).to_list(), strict=True))

    @staticmethod
    def _among(hashes: pl.DataFrame, prompts: Iterable[str]) -> Iterator[str]:
        for part in _in_parts(prompts):
            named = _hashed(part).with_columns(prompt=pl.Series(part, dtype=pl.String))
            yield from named.join(hashes, on=_HASH, how="semi")["prompt"]


def read_answers(answers: Answers, prompts: Sequence[str], key: str = "reward.answers") -> dict[str, Any]:
    """Prompt -> reference answer, for each of `prompts` that has one. Raise the errors of KnownAnswers."""
    return KnownAnswers(answers, lambda: prompts, key).of(prompts)


def answers_id(answers: Answers, key: str = "reward.answers") -> str:
    """A short hash of reference answers and of the columns that hold them. Raise DataError if there is no such file."""
    if not answers.path.is_file():
        raise DataError(f"`{key}.path` is {answers.path}, and there is no such file")
    with answers.path.open("rb") as file:
        digest = file_digest(file, "sha256")
    digest.update(f"\n{answers.prompt}\n{answers.answer}".encode())
    return digest.hexdigest()[:12]


def _hashes(prompt: pl.Expr) -> list[pl.Expr]:
    return [normalise(prompt).hash(seed).alias(name) for seed, name in enumerate(_HASH)]


def _hashed(prompts: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({"prompt": prompts}, schema={"prompt": pl.String}).select(_hashes(pl.col("prompt")))


def _in_parts(prompts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(prompts)
    while part := [*islice(remaining, TEXTS_AT_ONCE)]:
        yield part
