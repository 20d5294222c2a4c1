"""Finds prompts that nearly repeat another prompt, by rensa's MinHash over shingles of words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import polars as pl
import polars_hash as plh
from rensa import RMinHash, RMinHashLSH

from eva_data.dataset.ordered import height_of, in_memory
from eva_data.errors import ConfigError
from eva_data.evolve.elimination.ngrams import TOKENS, ngram_hashes
from eva_data.tables.ids import prompt_id
from eva_data.tables.ranges import ranges_for

SHINGLE = 3
"""Tokens per shingle."""
PERMUTATIONS = 128
_SEED = 42
_BATCH = 2_000
"""Prompts whose shingles are in memory at once: a few hundred for each, as texts of hashes."""
_KNOWN_AT_ONCE = 40_000
_RECALL = 0.9
_COLUMNS = ("prompt_id", "prompt", "root_id", "depth")


def near_duplicates(prompts: pl.DataFrame, known: pl.LazyFrame, *, threshold: float) -> pl.DataFrame:
    """Find `prompts` that nearly repeat a known prompt, or a surviving prompt before them.

    Both frames have `prompt_id`, unique over both, `prompt`, `root_id` and `depth`. The last user turns are compared by
    the Jaccard similarity of their sets of 3-token shingles, but only if all preceding messages are the same, since the
    same words mean something else in another conversation. A prompt never repeats a *shallower prompt of the same
    root*: one more requirement in a long prompt changes few shingles, and this is the purpose of evolving. An
    eliminated prompt does not eliminate others.

    The similarity is estimated from 128 MinHash values, with a standard error of 0.035 at 0.8. So a pair at the
    threshold is found about every second time, and a pair 0.1 below it practically never. Each known or surviving
    prompt takes about 2.6 kB of memory.

    Return one row per near-duplicate: `prompt_id`, and in `duplicate_of` the first prompt that it repeats; known
    prompts go first. Raise ConfigError unless 0 < threshold <= 1.
    """
    return near_duplicates_by_parts([prompts], prompts["prompt_id"], known, threshold=threshold)


def near_duplicates_by_parts(
    parts: Iterable[pl.DataFrame], order: pl.Series, known: pl.LazyFrame, *, threshold: float
) -> pl.DataFrame:
    """What `near_duplicates` finds among prompts that are given in parts, in any order.

    `order` has their ids in the order in which they are compared. The texts of one part, and of 40,000 known prompts,
    are in memory at once.
    """
    if not 0 < threshold <= 1:
        raise ConfigError(f"evolve.near_duplicate is {threshold}; it is a Jaccard similarity in (0, 1]")
    index = _Index(threshold)
    for part in ranges_for(height_of(known), _KNOWN_AT_ONCE):
        by_id = in_memory(part.of(known.select(_COLUMNS))).sort("prompt_id", "depth", "root_id")
        for sketch in _sketches(by_id.unique("prompt_id", keep="first", maintain_order=True)):
            index.add(sketch)
    sketches = {sketch.prompt_id: sketch for rows in parts for sketch in _sketches(rows.select(_COLUMNS))}
    repeats = []
    # Prompts are compared one after the other, since the verdict on a prompt depends on the verdicts before it.
    for prompt in order:
        # A prompt without a token has no sketch.
        if (new := sketches.pop(prompt, None)) is None:
            continue
        match = index.first_match(new)
        if match is None:
            index.add(new)
        else:
            repeats.append((new.prompt_id, match))
    return pl.DataFrame(repeats, schema={"prompt_id": pl.String, "duplicate_of": pl.String}, orient="row")


class _Sketch(NamedTuple):
    prompt_id: str
    root_id: str
    depth: int
    minhash: RMinHash


class _Index:
    """An index of sketches by similarity. It keeps the order in which they were added."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._lsh = RMinHashLSH(threshold, PERMUTATIONS, bands(threshold))
        self._sketches: list[_Sketch] = []

    def add(self, sketch: _Sketch) -> None:
        self._lsh.insert(len(self._sketches), sketch.minhash)
        self._sketches.append(sketch)

    def first_match(self, sketch: _Sketch) -> str | None:
        """The id of the first sketch that this sketch repeats; None if there is none."""
        places: list[int] = sorted(self._lsh.query(sketch.minhash))
        for place in places:
            other = self._sketches[place]
            grown = other.root_id == sketch.root_id and other.depth < sketch.depth
            if not grown and sketch.minhash.jaccard(other.minhash) >= self._threshold:
                return other.prompt_id
        return None


def _sketches(prompts: pl.DataFrame) -> Iterator[_Sketch]:
    """The sketch of each prompt with at least one token. The preceding messages are part of every shingle."""
    for batch in prompts.iter_slices(_BATCH):
        yield from _sketched(batch)


def _sketched(prompts: pl.DataFrame) -> Iterator[_Sketch]:
    rows = prompts.with_row_index("row").lazy()
    preceding = prompt_id(pl.col("prompt").list.head(pl.col("prompt").list.len() - 1))
    text = rows.select("row", text=pl.col("prompt").list.last().struct.field("content"))
    conversation = plh.NonCryptographicHashingNameSpace(preceding).xxhash64()
    shingles = (
        ngram_hashes(text, n=SHINGLE, tokens=TOKENS)
        .join(rows.select("row", conversation=conversation), on="row", maintain_order="left")
        .group_by("row", maintain_order=True)
        .agg((pl.col("ngram") + pl.col("conversation")).cast(pl.String))
        .join(rows.select("row", "prompt_id", "root_id", "depth"), on="row", maintain_order="left")
        .collect()
    )
    minhashes = RMinHash.from_token_sets(shingles["ngram"].to_list(), PERMUTATIONS, _SEED)
    return map(_Sketch, shingles["prompt_id"], shingles["root_id"], shingles["depth"], minhashes)


def bands(threshold: float) -> int:
    """The smallest number of bands of the index that finds a pair at the threshold with probability 0.9.

    With b bands of r = 128 / b values, a pair of similarity s is in the same bucket of a band with probability
    1 - (1 - s^r)^b.
    """
    choices = (8, 16, 32, 64, 128)
    found = (b for b in choices if 1 - (1 - threshold ** (PERMUTATIONS / b)) ** b >= _RECALL)
    return next(found, PERMUTATIONS)
