"""Measures what `pair.max_length_gap` costs: the table in docs/training.md.

    python benchmarks/pair_lengths.py responses_alpaca_eval.parquet

The file has a row per response, with `prompt`, `response` and `reward_logit`; six responses are drawn per prompt. Each
line has a bound, the prompts with a pair, the share of pairs whose chosen response is longer in characters, the median
difference in words, and the mean difference in reward.
"""

from __future__ import annotations

from pathlib import Path

import click
import polars as pl

import eva_data as ed

BOUNDS = (None, 0.5, 0.3, 0.2, 0.1)


@click.command()
@click.argument("responses", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(responses: Path) -> None:
    drawn = pl.read_parquet(responses).filter(pl.int_range(pl.len()).shuffle(seed=1).over("prompt") < 6)
    drawn = drawn.select("prompt", "response", reward="reward_logit")
    for bound in BOUNDS:
        pairs = ed.pairs(drawn, max_length_gap=bound, conversational=False)
        words = {side: pl.col(side).str.count_matches(r"\S+").cast(pl.Int64) for side in ("chosen", "rejected")}
        longer, more, gap = pairs.select(
            longer=(pl.col("chosen").str.len_chars() > pl.col("rejected").str.len_chars()).mean(),
            words=(words["chosen"] - words["rejected"]).median(),
            gap=(pl.col("score_chosen") - pl.col("score_rejected")).mean(),
        ).row(0)
        click.echo(f"{bound}: {pairs.height} prompts, {longer:.0%} longer, {more:+.0f} words, {gap:.1f} in reward")


if __name__ == "__main__":
    main()
