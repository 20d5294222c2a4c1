"""Pairs that people reviewed, for the judges to compare too."""

from __future__ import annotations

import polars as pl

from eva_data.dataset.store import Store
from eva_data.evaluation.rates.people import CHOSEN, REJECTED, TIE
from eva_data.method.verdicts import decide
from eva_data.tables.reasons import kind


def reviewed_pairs(store: Store) -> pl.DataFrame:
    """One row per pair of a build on which the people of its newest revision agree, in the form of `faced`.

    `response` is the chosen response and `response_against` the rejected one, as the reward had them; `category` is
    what people prefer: chosen, rejected or tie. `sample` counts the pairs of a prompt. Pairs that people call bad, or
    about which they disagree, are left out.
    """
    parts = [_of_iteration(store, number) for number in store.iterations() if store.manifest(number).review is not None]
    if not parts:
        return pl.DataFrame(schema={"prompt_id": pl.String, "category": pl.String})
    together = pl.concat(parts).sort("prompt_id", "pair_id")
    return together.with_columns(
        turn=pl.lit(1, pl.Int32), sample=pl.int_range(pl.len(), dtype=pl.Int32).over("prompt_id")
    )


def _of_iteration(store: Store, number: int) -> pl.DataFrame:
    built = store.at(number, store.built(number)).scan("preferences", number).collect()
    decided = decide(store.scan("reviews", number).collect()).select("pair_id", "preferred_idx", "reason")
    preferred = pl.col("preferred_idx")
    verdict = (
        pl.when(preferred == pl.col("chosen_idx"))
        .then(pl.lit(CHOSEN))
        .when(preferred == pl.col("rejected_idx"))
        .then(pl.lit(REJECTED))
        .when(kind(pl.col("reason")) == TIE)
        .then(pl.lit(TIE))
    )
    unknown = {name: pl.lit(None, pl.String) for name in ("finish_reason", "finish_reason_against")}
    lengths = {name: pl.lit(None, pl.Int32) for name in ("completion_tokens", "completion_tokens_against")}
    return (
        built.join(decided, on="pair_id")
        .select(
            "pair_id",
            "prompt_id",
            "prompt",
            category=verdict,
            response=pl.col("chosen").list.last().struct.field("content"),
            response_against=pl.col("rejected").list.last().struct.field("content"),
            reference=pl.lit(None, pl.String),
            checklist=pl.lit(None, pl.List(pl.String)),
            **unknown,
            **lengths,
        )
        .filter(pl.col("category").is_not_null())
    )
