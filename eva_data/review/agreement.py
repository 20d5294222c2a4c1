"""Measures how far reviewers agree with each other and with the reward, for `review status`, manifest and card."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import polars as pl

from eva_data.errors import MissingExtraError
from eva_data.method.verdicts import COUNTED, DISAGREE, decide, vote
from eva_data.tables.metrics import column_of
from eva_data.tables.reasons import kind

QUARTILES = 4


def figures(pairs: pl.DataFrame, spare: pl.DataFrame, reviews: pl.DataFrame, metric: str) -> dict[str, Any]:
    """The numbers on an iteration's reviews, as plain values. `pairs` and `spare` come from the build (PREFERENCES).

    `alpha` is Krippendorff's alpha for nominal data, over the verdicts of all pairs with two answers or more: 1 is full
    agreement, and 0 is agreement by chance. It is None without such pairs, or if all of their verdicts are the same.
    `agreement` is the share (0 to 1) of the pairs with a preferred response in which the reward prefers it too, over
    all pairs and by quartiles of `metric`; None without such pairs. Pairs with equal rewards do not count.
    """
    known = pl.concat([pairs, spare])
    decided = known.join(decide(reviews), on="pair_id", how="inner").with_columns(
        agrees=pl.when(pl.col("score_chosen") > pl.col("score_rejected")).then(
            pl.col("preferred_idx") == pl.col("chosen_idx")
        )
    )
    reasons = dict(decided.group_by(kind(pl.col("reason"))).len().drop_nulls().sort("reason").iter_rows())
    disagreed = reasons.pop(DISAGREE, 0)
    answers = dict(reviews.group_by("status").len().sort("status").iter_rows())
    return {
        "reviewers": reviews.filter(COUNTED)["reviewer"].n_unique(),
        "answers": answers,
        "pairs": decided.height,
        "decided": int(decided["preferred_idx"].count()),
        "overruled": int((~decided["agrees"]).sum()),
        "added": decided.filter(pl.col("preferred_idx").is_not_null()).join(spare, on="pair_id", how="semi").height,
        "rejected": reasons,
        "undecided": disagreed,
        "bad_prompts": int(decided["bad_prompt"].sum()),
        "alpha": alpha(known, reviews),
        "agreement": _share(decided),
        "metric": metric,
        "quartiles": _quartiles(decided, column_of(metric)),
    }


def alpha(pairs: pl.DataFrame, reviews: pl.DataFrame) -> float | None:
    """Krippendorff's alpha of the verdicts: the reward's choice, the other response, tie, both bad."""
    if find_spec("nltk") is None:
        raise MissingExtraError.of("nltk", "review")
    from nltk.metrics.agreement import AnnotationTask

    voted = (
        reviews.filter(COUNTED)
        .join(pairs.select("pair_id", "chosen_idx"), on="pair_id", how="inner")
        .with_columns(
            label=pl.when(pl.col("preferred_idx").is_null())
            .then(vote())
            .when(pl.col("preferred_idx") == pl.col("chosen_idx"))
            .then(pl.lit("chosen"))
            .otherwise(pl.lit("rejected"))
        )
        .filter(pl.len().over("pair_id") > 1)
    )
    if voted["label"].n_unique() < 2:
        return None
    task = AnnotationTask(voted.select("reviewer", "pair_id", "label").rows())
    return round(float(task.alpha()), 6)


def _share(decided: pl.DataFrame) -> float | None:
    share = decided["agrees"].mean()
    return None if share is None else round(float(share), 6)  # type: ignore[arg-type]


def _quartiles(decided: pl.DataFrame, metric: str) -> list[dict[str, Any]]:
    """One row per quartile of the metric, the least informative first; fewer rows if there are fewer pairs."""
    place = pl.int_range(pl.len()) * QUARTILES // pl.len()
    finite = pl.col(metric).is_finite()
    ranked = decided.filter(pl.col("agrees").is_not_null() & finite).sort(metric, "pair_id")
    return (
        ranked.group_by(quartile=place + 1)
        .agg(
            pairs=pl.len(),
            least=pl.col(metric).min(),
            most=pl.col(metric).max(),
            agreement=pl.col("agrees").mean().round(6),
        )
        .sort("quartile")
        .to_dicts()
    )
