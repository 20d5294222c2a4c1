"""Both orders of a comparison: the score of a side, and how far judges prefer the place of a reply."""

from __future__ import annotations

import polars as pl

FIRST, SECOND = "solver_first", "solver_second"
"""Values of the column `order`, which says which side was shown first."""


def in_both_orders(pairs: pl.DataFrame) -> pl.DataFrame:
    """Every row twice, with `order`: once with the solver's response first, once with it second."""
    return pl.concat([pairs.with_columns(order=pl.lit(order)) for order in (FIRST, SECOND)])


def for_solver(score_of_first: pl.Expr) -> pl.Expr:
    """A score of the response shown first, in [0, 1], as the score of the solver's response."""
    return pl.when(pl.col("order") == SECOND).then(1 - score_of_first).otherwise(score_of_first)


def by_likelihood(log_first: pl.Expr, log_second: pl.Expr) -> pl.Expr:
    """The probability of the response shown first, p(first) / (p(first) + p(second)); None where neither is known.

    A token that is not among the judge's likeliest has probability 0.
    """
    first, second = (each.fill_null(float("-inf")) for each in (log_first, log_second))
    known = log_first.is_not_null() | log_second.is_not_null()
    return pl.when(known).then((1 / (1 + (second - first).exp())).fill_nan(None))


def by_panel(verdicts: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """One row per `keys`: the panel's score for the solver, and the share of judges that agree with it.

    `verdicts` has one row per `keys`, `judge` and `order`, with the solver's `score` in [0, 1], None where the judge
    gave no verdict. A judge's score of a prompt is the mean over its orders, and None where an order has none: half a
    comparison favours a place. The panel's score is the majority of its judges: 1 or 0 where more judges than not find
    one side better, else 0.5. With one judge it is that judge's score.
    """
    judges = (
        verdicts.group_by(*keys, "judge")
        .agg(
            score=pl.when(pl.col("score").null_count() == 0).then(pl.col("score").mean()),
        )
        .filter(pl.col("score").is_not_null())
    )
    lean = (pl.col("score") - 0.5).sign()
    return (
        judges.group_by(keys)
        .agg(
            score=pl.when(pl.len() == 1).then(pl.col("score").first()).otherwise((lean.sum().sign() + 1) / 2),
            agreement=(lean == lean.sum().sign()).mean(),
            judges=pl.len(),
        )
        .sort(keys)
    )


def flips(verdicts: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """One row per `judge`: how often its verdict turned with the order, and how often it went to the first place.

    Columns: `both`, prompts that it judged in both orders; `flipped`, those of them in which a side won in one order
    and did not in the other; `decided`, verdicts that are no tie; `first`, those of them for the response shown first.
    """
    own = pl.col("score")
    shown_first = pl.when(pl.col("order") == SECOND).then(1 - own).otherwise(own)
    prompts = (
        verdicts.filter(own.is_not_null())
        .group_by("judge", *keys)
        .agg(orders=pl.col("order").n_unique(), differs=(own - 0.5).sign().n_unique() > 1)
        .filter(pl.col("orders") == 2)
        .group_by("judge")
        .agg(both=pl.len(), flipped=pl.col("differs").sum())
    )
    places = (
        verdicts.filter(own.is_not_null() & (own != 0.5))
        .group_by("judge")
        .agg(decided=pl.len(), first=(shown_first > 0.5).sum())
    )
    judges = verdicts.select("judge").unique()
    return (
        judges.join(prompts, on="judge", how="left")
        .join(places, on="judge", how="left")
        .with_columns(pl.col("both", "flipped", "decided", "first").fill_null(0).cast(pl.Int64))
        .sort("judge")
    )
