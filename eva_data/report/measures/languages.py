"""The languages of an iteration's prompts, for the card's metadata."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import polars as pl

from eva_data.dataset.store import Store
from eva_data.report.numbers import sample_of
from eva_data.tables.ids import last_turn

SAMPLED = 300
"""Prompts that are looked at, the first by their ids, which are hashes."""
_SHARE = 0.05
"""A language of a smaller share is not named: it may be a quotation, or a mistake."""
_LIKELY = 0.9
_ENOUGH = 20
"""Letters below which a text says too little."""


def languages(store: Store, iteration: int) -> list[str]:
    """ISO 639-1 codes of the languages in which prompts are written, the most frequent first; empty if none is sure."""
    texts = (
        sample_of(store, iteration)
        .of(store.scan("prompts", iteration))
        .select("prompt_id", text=last_turn(pl.col("prompt")))
        .sort("prompt_id")
        .head(SAMPLED)
        .collect(engine="streaming")["text"]
    )
    found = Counter(code for text in texts if (code := _language(text)) is not None)
    sure = sum(found.values())
    return [code for code, count in found.most_common() if count >= _SHARE * sure]


def _language(text: str | None) -> str | None:
    if text is None or sum(map(str.isalpha, text)) < _ENOUGH:
        return None
    code, probability = _identifier().classify(text)
    return str(code) if probability >= _LIKELY else None


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
