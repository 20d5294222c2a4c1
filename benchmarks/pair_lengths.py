"""Measures what `pair.max_length_gap` and `estimate.adjust_length` cost: the tables in docs/training.md.

    python benchmarks/pair_lengths.py responses_alpaca_eval.parquet

The file has a row per response, with `prompt`, `response`, `reward` and `reward_logit`; six responses are drawn per
prompt. Each line has a bound or a reward, the prompts with a pair, the share of pairs whose chosen response is longer
in characters with its 95 % interval, the median difference in words, and the mean difference of the given rewards.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import polars as pl

import eva_data as ed
from eva_data.statistics.shares import share

BOUNDS = (None, 0.5, 0.3, 0.2, 0.1)
DRAWS = (1, 2, 3)
REWARDS = {"reward_logit": "log-odds of the judge", "reward": "probability of the judge"}


@click.command()
@click.argument("responses", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(responses: Path) -> None:
    table = pl.read_parquet(responses)
    for bound in BOUNDS:
        said(f"max_length_gap {bound}", _drawn(table, 1, "reward_logit"), max_length_gap=bound)
    for reward, name in REWARDS.items():
        for seed in DRAWS:
            drawn = _drawn(table, seed, reward)
            said(f"{name}, draw {seed}, as given", drawn)
            said(f"{name}, draw {seed}, adjusted", drawn, adjust_length=True)
            said(f"{name}, draw {seed}, by least squares", drawn, paired=_by_least_squares(drawn))


def said(name: str, drawn: pl.DataFrame, paired: pl.DataFrame | None = None, **how: Any) -> None:
    """Print what the pairs by these settings are like, with the rewards of `drawn`; `paired` has other rewards."""
    pairs = ed.pairs(drawn if paired is None else paired, conversational=False, **how)
    given = drawn.group_by("prompt", "response").agg(pl.col("reward").mean())
    for side in ("chosen", "rejected"):
        of_side = given.rename({"response": side, "reward": f"given_{side}"})
        pairs = pairs.join(of_side, on=["prompt", side], how="left")
    characters = pl.col("chosen").str.len_chars().cast(pl.Int64) - pl.col("rejected").str.len_chars().cast(pl.Int64)
    words = {side: pl.col(side).str.count_matches(r"\S+").cast(pl.Int64) for side in ("chosen", "rejected")}
    longer, more, gap = pairs.select(
        longer=(characters > 0).sum(),
        words=(words["chosen"] - words["rejected"]).median(),
        gap=(pl.col("given_chosen") - pl.col("given_rejected")).mean(),
    ).row(0)
    part = share(longer, pairs.height)
    click.echo(
        f"{name}: {pairs.height} prompts, {part.estimate:.0%} longer ({part.low:.0%} to {part.high:.0%}), "
        f"{more:+.0f} words, {gap:.3g} in reward"
    )


def _by_least_squares(drawn: pl.DataFrame) -> pl.DataFrame:
    """Rewards less what a least-squares regression on log length within prompts explains: the plain way."""
    length = pl.col("response").str.len_chars().clip(lower_bound=1).cast(pl.Float64).log()
    away = length - length.mean().over("prompt")
    slope = (away * (pl.col("reward") - pl.col("reward").mean().over("prompt"))).sum() / (away**2).sum()
    return drawn.with_columns(reward=pl.col("reward") - slope * away)


def _drawn(table: pl.DataFrame, seed: int, reward: str) -> pl.DataFrame:
    chosen = pl.int_range(pl.len()).shuffle(seed=seed).over("prompt") < 6
    return table.filter(chosen).select("prompt", "response", reward=reward)


if __name__ == "__main__":
    main()
