"""Searches for texts of the same meaning: prompts among prompts, reference answers among chosen responses.

Every embedding model judges the pairs of texts that it can read: a model of English alone those of English texts, and a
model of many languages the others. Two texts in different languages have lower cosines than two of one language, and
hardly anything else comes near them, so a lower bound holds for such pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from eva_data.embedding.embedder import WORDS, Embedder
from eva_data.embedding.packaged import Similarity
from eva_data.evaluation.contamination.neighbours import Neighbours, Rows
from eva_data.evaluation.contamination.training_texts import CHOSEN
from eva_data.evaluation.contamination.words import WordWeights
from eva_data.evolve.replies.languages import is_other_language

EMBEDDING = "embedding"
SIMILAR_WORDS = Similarity(0.5, 0.45, 0.8)
"""For vectors of words: as measured, see docs/contamination.md."""

ENGLISH = "This is a sentence in English, by which other sentences are told from those of other languages."

Parts = Callable[[], Iterator[pl.DataFrame]]
"""Gives the training texts (TRAINING_TEXTS), part by part, from the beginning at each call."""


@dataclass(frozen=True)
class Measure:
    """A way to compare texts by meaning."""

    sign: str
    vectors: Callable[[pl.Series], Rows]
    similar: Similarity
    """For two texts of the same language."""
    across: Similarity | None
    """For two texts of different languages; None if they cannot be compared."""
    only_english: bool


def measures_of(
    embedders: Sequence[Embedder], parts: Parts, progress: Callable[[int, int], None] | None
) -> list[Measure]:
    """The embedding models, or the words of the texts without any."""
    if not embedders:
        weights = WordWeights.none()
        for part in parts():
            weights.see(part["text"])
        return [Measure(WORDS, weights.vectors, SIMILAR_WORDS, None, False)]
    return [_measure(embedder, progress) for embedder in embedders]


def _measure(embedder: Embedder, progress: Callable[[int, int], None] | None) -> Measure:
    def vectors(texts: pl.Series) -> Rows:
        return embedder.vectors(texts.to_list(), progress)

    return Measure(EMBEDDING, vectors, embedder.similar, embedder.across, embedder.only_english)


class Meaning:
    """The search, while the training texts go by."""

    def __init__(self, prompts: pl.DataFrame, references: pl.DataFrame, measures: Sequence[Measure]) -> None:
        """`prompts` and `references` have `row` and `text`."""
        self._asked, self._answered = prompts, references
        self._measures = measures
        self._prompts = [Neighbours(each.vectors(prompts["text"])) for each in measures]
        self._references = [Neighbours(each.vectors(references["text"])) for each in measures if references.height]

    def see(self, part: pl.DataFrame) -> None:
        """Take in a part of the training texts."""
        prompts = part.filter(pl.col("kind") != CHOSEN)
        answers = part.filter(pl.col("kind") == CHOSEN)
        for pools, texts in ((self._prompts, prompts), (self._references, answers)):
            for measure, pool in zip(self._measures, pools, strict=False):
                if texts.height:
                    pool.see(measure.vectors(texts["text"]), texts["id"], texts["root"])

    def hits(self, parts: Parts) -> pl.DataFrame:
        """One row per text with a neighbour of the same meaning: `row`, `sign`, `nearest_id`, `score`, `asked`.

        `asked` is false for a reference answer, whose neighbour is a chosen response. `parts` is read once more for the
        texts of the neighbours.
        """
        found = [
            *(self._near(place, pool, self._asked, True) for place, pool in enumerate(self._prompts)),
            *(self._near(place, pool, self._answered, False) for place, pool in enumerate(self._references)),
        ]
        near = pl.concat(found)
        if near.is_empty():
            return near.select("row", "nearest_id", "score", "asked", sign=pl.lit(EMBEDDING))
        pairs = near.join(_texts_of(near, parts), on=["nearest_id", "asked"], maintain_order="left")
        texts = list(zip(pairs["text"], pairs["nearest_text"], strict=True))
        pairs = pairs.with_columns(
            across=pl.Series([is_other_language(one, other) for one, other in texts], dtype=pl.Boolean),
            english=pl.Series([_is_english(one) and _is_english(other) for one, other in texts], dtype=pl.Boolean),
        )
        close = [self._close(place, measure) for place, measure in enumerate(self._measures)]
        sign = pl.col("measure").replace_strict(dict(enumerate(each.sign for each in self._measures)))
        return pairs.filter(pl.any_horizontal(close)).select("row", "nearest_id", "score", "asked", sign=sign)

    def _near(self, place: int, pool: Neighbours, texts: pl.DataFrame, asked: bool) -> pl.DataFrame:
        """The neighbours that may count, in one language or another."""
        measure = self._measures[place]
        near = pool.nearest()
        may = _beyond(measure.similar) | (_beyond(measure.across) if measure.across is not None else pl.lit(False))
        found = near.filter(may).rename({"nearest": "nearest_id"})
        own = texts.select("row", "text")[found["row"]]
        return found.drop("row").with_columns(own["row"], own["text"], measure=pl.lit(place), asked=pl.lit(asked))

    def _close(self, place: int, measure: Measure) -> pl.Expr:
        """Whether a pair of this measure counts."""
        specialist = any(each.only_english for each in self._measures)
        others = ~pl.col("english") if specialist else pl.lit(True)
        reads = pl.col("english") if measure.only_english else others
        same = ~pl.col("across") & reads & _beyond(measure.similar)
        other = pl.lit(False)
        if measure.across is not None:
            other = pl.col("across") & _beyond(measure.across)
        return (pl.col("measure") == place) & (same | other)


def _beyond(similar: Similarity) -> pl.Expr:
    stands_out = (pl.col("score") >= similar.least) & (pl.col("margin") >= similar.margin)
    return stands_out | (pl.col("score") >= similar.alike)


def _texts_of(near: pl.DataFrame, parts: Parts) -> pl.DataFrame:
    """`nearest_id`, `asked` and `nearest_text` of the neighbours."""
    wanted = near.select("nearest_id", "asked").unique()
    found = [
        part.select(nearest_id="id", asked=pl.col("kind") != CHOSEN, nearest_text="text").join(
            wanted, on=["nearest_id", "asked"], how="semi"
        )
        for part in parts()
    ]
    return pl.concat(found).unique(["nearest_id", "asked"], keep="first", maintain_order=True)


def _is_english(text: str) -> bool:
    return not is_other_language(text, ENGLISH)
