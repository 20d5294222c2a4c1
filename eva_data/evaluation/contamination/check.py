"""Compares the prompts of a set, and its reference answers, with what theta_t was trained on.

A prompt is flagged for one or several reasons:

- `ngram`: it shares many words in a row with a training text, or its reference answer does;
- `numbers`: it is a training prompt with other numbers;
- `embedding`: it means the same as a training prompt, or its reference answer the same as a chosen response, by the
  model of the block `embedding`; `words` in its place if there is no such model;
- `descendant`: it repeats, in one of these ways, a prompt that is no training prompt itself, but from which a training
  prompt was evolved.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import polars as pl

from eva_data.config import Contamination
from eva_data.dataset.evaluations import ContaminationCheck
from eva_data.embedding.embedder import WORDS as BY_WORDS
from eva_data.embedding.embedder import Embedder, embedders_of
from eva_data.evaluation.contamination.meaning import EMBEDDING, SIMILAR_WORDS, Meaning, Parts, measures_of
from eva_data.evaluation.contamination.runs import NumberIndex, WordIndex
from eva_data.evaluation.contamination.training_texts import ANCESTOR, CHOSEN, TrainingTexts, user_turns
from eva_data.evolve.elimination.ngrams import WORDS
from eva_data.iteration.run import Run
from eva_data.ledger import call_key

NGRAM, NUMBERS, DESCENDANT = "ngram", "numbers", "descendant"
REASONS = (NGRAM, NUMBERS, EMBEDDING, BY_WORDS, DESCENDANT)
"""Why a prompt is flagged, the surest first."""

SHORTEST = 8
"""Words. Shorter reference answers and second turns are not compared: people give the same short answers by chance."""

PROMPT, TURN_2, REFERENCE = "prompt", "turn_2", "reference"

EVALUATED = pl.Schema({"row": pl.UInt32, "prompt_id": pl.String, "part": pl.String, "text": pl.String})
"""The texts of a set, one row each: prompts, second turns and reference answers."""

HITS = pl.Schema(
    {
        "prompt_id": pl.String,  # of the evaluated set
        "sign": pl.String,
        "nearest_id": pl.String,  # the prompt that is repeated, or whose chosen response is
        "score": pl.Float64,  # 1 for ngram, the Jaccard similarity for numbers, else a cosine
    }
)
"""One row per flagged prompt and reason, with the strongest hit, ordered by both."""


_FOUND = pl.Schema(
    {"row": pl.UInt32, "sign": pl.String, "nearest_id": pl.String, "score": pl.Float64, "of_ancestor": pl.Boolean}
)
"""One row per hit of an evaluated text."""


def evaluated_texts(prompts: pl.DataFrame) -> pl.DataFrame:
    """EVALUATED of the prompts of a set (SET)."""
    long = pl.col("text").str.count_matches(WORDS) >= SHORTEST
    parts = [
        prompts.select("prompt_id", part=pl.lit(PROMPT), text=user_turns(pl.col("prompt"))),
        prompts.select("prompt_id", part=pl.lit(TURN_2), text="turn_2").filter(long),
        prompts.select("prompt_id", part=pl.lit(REFERENCE), text="reference").explode("text").filter(long),
    ]
    texts = pl.concat(parts).drop_nulls("text").filter(pl.col("text").str.strip_chars() != "")
    return texts.with_row_index("row").select(EVALUATED.names())


def check_of(run: Run, prompts: pl.DataFrame, until: int) -> tuple[ContaminationCheck, pl.DataFrame] | None:
    """The record of the check of a set against what theta_t was trained on, and its HITS; None if there is no check.

    `until` is t. Raise the errors of embedding.
    """
    settings = settings_of(run)
    training = TrainingTexts(run, until)
    if not settings.check or not training.iterations():
        return None
    embedders = embedders_of(run.config.embedding, run.ledger, run.budget) if settings.embeddings else None
    shown = run.reporter.stage("contamination", until) if embedders else None
    hits, texts = hits_of(evaluated_texts(prompts), training.parts, settings, embedders, progress=shown)
    names = None if embedders is None else "+".join(each.name for each in embedders) or BY_WORDS
    record = ContaminationCheck(
        key=key_of(run, prompts, until),
        until=until,
        texts=texts,
        ngram=settings.ngram,
        changed_numbers=settings.changed_numbers,
        by=names,
        models=tuple(each.fingerprint for each in embedders or ()),
        across_languages=any(each.across is not None for each in embedders or ()),
        similar=dict(_similar(embedders)),
        training_prompts=training.descendants(hits["nearest_id"].unique().to_list()),
        notes=tuple(training.notes),
    )
    return record, hits


def settings_of(run: Run) -> Contamination:
    """The settings of the check."""
    return run.config.evaluate.contamination if run.config.evaluate is not None else Contamination()


def key_of(run: Run, prompts: pl.DataFrame, until: int) -> str:
    """A hash of everything that a check depends on: the set's texts, the iterations, the settings and the model."""
    settings = settings_of(run)
    embedders = embedders_of(run.config.embedding, run.ledger, run.budget) if settings.embeddings else None
    texts = evaluated_texts(prompts).drop("row").write_json()
    manifests = [
        hashlib.sha256(run.store.manifest_path(number).read_bytes()).hexdigest()
        for number in TrainingTexts(run, until).iterations()
    ]
    parts = {
        "texts": hashlib.sha256(texts.encode()).hexdigest(),
        "iterations": manifests,
        "settings": settings.model_dump(mode="json"),
        "models": None if embedders is None else [each.fingerprint for each in embedders],
        "similar": _similar(embedders),
    }
    return call_key(parts).hex()[:16]


def _similar(embedders: Sequence[Embedder] | None) -> Mapping[str, tuple[float, float, float]]:
    """Model -> the bounds by which two texts mean the same."""
    if embedders is None:
        return {}
    if not embedders:
        return {BY_WORDS: SIMILAR_WORDS}
    bounds = {each.name: each.similar for each in embedders}
    return bounds | {f"{each.name} across languages": each.across for each in embedders if each.across is not None}


def hits_of(
    evaluated: pl.DataFrame,
    parts: Parts,
    settings: Contamination,
    embedders: Sequence[Embedder] | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[pl.DataFrame, int]:
    """HITS of EVALUATED texts among training texts (TRAINING_TEXTS), and how many of these there were.

    `parts` gives the training texts, part by part, from the beginning at each call. Words are counted if there are no
    embedders, and meaning is not compared if they are None.
    """
    words = WordIndex.of(evaluated, settings.ngram)
    prompts = evaluated.filter(pl.col("part") == PROMPT)
    numbers = NumberIndex.of(prompts.select("row", "text"), settings.changed_numbers)
    meaning = None
    if embedders is not None:
        references = evaluated.filter(pl.col("part") == REFERENCE)
        meaning = Meaning(prompts, references, measures_of(embedders, parts, progress))
    hits, ancestors, seen = [], [], 0
    for part in parts():
        numbered = part.with_columns(other=pl.int_range(pl.len(), dtype=pl.UInt32))
        asked = numbered.filter(pl.col("kind") != CHOSEN)
        pairs = [
            words.pairs(numbered.select("other", "text")).with_columns(sign=pl.lit(NGRAM)),
            numbers.pairs(asked.select("other", "text")).with_columns(sign=pl.lit(NUMBERS)),
        ]
        near = pl.concat(pairs).join(numbered, on="other").rename({"id": "nearest_id"})
        hits.append(near.with_columns(of_ancestor=pl.col("kind") == ANCESTOR).select(_FOUND.names()))
        ancestors.append(part.filter(pl.col("kind") == ANCESTOR)["id"])
        seen += part.height
        if meaning is not None:
            meaning.see(part)
    if meaning is not None:
        close = meaning.hits(parts)
        ids = pl.concat(ancestors).unique().to_list() if ancestors else []
        hits.append(close.with_columns(of_ancestor=pl.col("asked") & pl.col("nearest_id").is_in(ids)))
    return _strongest(evaluated, hits), seen


def _strongest(evaluated: pl.DataFrame, hits: list[pl.DataFrame]) -> pl.DataFrame:
    empty = pl.DataFrame(schema=_FOUND)
    every = pl.concat([empty, *(frame.select(_FOUND.names()).cast(dict(_FOUND)) for frame in hits)])  # type: ignore[arg-type]
    sign = pl.when("of_ancestor").then(pl.lit(DESCENDANT)).otherwise("sign")
    return (
        every.join(evaluated.select("row", "prompt_id"), on="row")
        .with_columns(sign=sign)
        .sort("prompt_id", "sign", "score", "nearest_id", descending=[False, False, True, False])
        .unique(["prompt_id", "sign"], keep="first", maintain_order=True)
        .select(HITS.names())
    )
