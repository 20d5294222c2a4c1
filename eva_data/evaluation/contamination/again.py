"""Looks once more, for `verify`, whether prompts of an evaluation repeat training prompts.

Meaning is not compared again, which could ask or load a model. The rows hold prompts without their reference answers,
so a prompt may be flagged for its reference answer alone: only a missing flag is found.
"""

from __future__ import annotations

import polars as pl

from eva_data.config import Contamination
from eva_data.dataset.evaluations import Compared
from eva_data.dataset.store import Store
from eva_data.evaluation.contamination.check import hits_of
from eva_data.evaluation.contamination.training_texts import trained_texts, user_turns


def lost_flags(store: Store, each: Compared, rows: pl.DataFrame) -> list[str]:
    """The ids of prompts that share words, or all but their numbers, with training prompts and are not flagged for it.

    `rows` are the comparison's rows. Iterations that the folder lacks are not looked at.
    """
    check = each.contamination
    if check is None or each.partial is not None:
        return []
    settings = Contamination(ngram=check.ngram, changed_numbers=check.changed_numbers, embeddings=False)
    asked = rows.filter(pl.col("turn") == 1).unique("prompt_id", keep="first", maintain_order=True)
    evaluated = asked.select("prompt_id", part=pl.lit("prompt"), text=user_turns(pl.col("prompt"))).with_row_index(
        "row"
    )
    numbers = [number for number in store.iterations() if number <= check.until]
    hits, _ = hits_of(evaluated, lambda: trained_texts(store, numbers), settings, None)
    marked = asked.select("prompt_id", pl.col("contaminated").fill_null("").str.split("+"))
    told = hits.join(marked, on="prompt_id").filter(~pl.col("sign").is_in(pl.col("contaminated")))
    return told["prompt_id"].unique().sort().to_list()
