"""Pairs by another rule than the best against the worst response, and pairs of similar length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl

LENGTH_GAP = "length_gap"
FEWER_BELOW = "fewer_below"

PairRule: TypeAlias = Literal["best_worst", "best_random", "best_below", "margin"]
Noise: TypeAlias = Callable[[pl.Expr, pl.Expr], pl.Expr]
"""The largest difference of two rewards that count as equal."""

_CHOSEN, _REJECTED = "chosen_", "rejected_"


@dataclass(frozen=True)
class PairChoice:
    """Which of a prompt's possible pairs is taken. A pair is possible if its rewards differ in the right direction."""

    rule: PairRule = "best_worst"
    """`best_worst`: the largest difference. `best_random`: the best response against one drawn from the worse ones.
    `best_below`: the best against the one that many places `below` it. `margin`: the smallest difference that is not
    below `margin`."""
    below: int = 1
    margin: float | None = None
    min_chosen: float | None = None
    max_length_gap: float | None = None
    """Largest difference in characters, as a share of the longer response; null sets no bound."""

    @property
    def is_plain(self) -> bool:
        """Whether the best and the worst response are the pair, whatever their lengths."""
        return self.rule == "best_worst" and self.max_length_gap is None


def choose(candidates: pl.DataFrame, best: pl.DataFrame, choice: PairChoice, noise: Noise) -> pl.DataFrame:
    """One row per prompt with a possible pair: `prompt`, `lacks`, and the pair that is chosen.

    `candidates` has one row per distinct response: `prompt`, `row`, `reward`, `complete`, `draw` (uniform in [0, 1) and
    keyed by the text), `length` (characters). `best` has the `row` of each prompt's best complete response as `chosen`.
    The columns of the pair are `chosen`, `score_chosen`, `rejected` and `score_rejected`. They are null if no possible
    pair keeps the bounds; `lacks` is then `length_gap`, or `fewer_below` if fewer responses than `below` are worse.
    """
    high, low = pl.col("chosen_reward"), pl.col("rejected_reward")
    sides = [
        candidates.rename({name: side + name for name in candidates.columns if name != "prompt"})
        for side in (_CHOSEN, _REJECTED)
    ]
    first = sides[0].filter("chosen_complete")
    if choice.rule in ("best_random", "best_below"):
        first = first.join(best.select("prompt", chosen_row="chosen"), on=["prompt", "chosen_row"], how="semi")
    possible = first.join(sides[1], on="prompt").with_columns(gap=high - low).filter(pl.col("gap") > noise(high, low))
    kept = possible.filter(_keeps_bounds(choice, noise))
    found = _first_of_each(_ordered(kept, choice, noise), choice)
    return (
        possible.select("prompt")
        .unique(maintain_order=True)
        .join(found, on="prompt", how="left", maintain_order="left")
        .join(kept.select("prompt", near=pl.lit(True)).unique(), on="prompt", how="left", maintain_order="left")
        .with_columns(
            lacks=pl.when(pl.col("chosen").is_null()).then(
                pl.when(pl.col("near").is_null()).then(pl.lit(LENGTH_GAP)).otherwise(pl.lit(FEWER_BELOW))
            )
        )
        .drop("near")
    )


def _keeps_bounds(choice: PairChoice, noise: Noise) -> pl.Expr:
    high, low, gap = pl.col("chosen_reward"), pl.col("rejected_reward"), pl.col("gap")
    bounds = pl.lit(True)
    if choice.margin is not None:
        bounds &= gap + noise(high, low) >= choice.margin
    if choice.min_chosen is not None:
        bounds &= choice.min_chosen - high <= noise(high, high)
    if choice.max_length_gap is not None:
        longer = pl.max_horizontal("chosen_length", "rejected_length")
        apart = (pl.col("chosen_length").cast(pl.Int64) - pl.col("rejected_length").cast(pl.Int64)).abs()
        bounds &= apart <= choice.max_length_gap * longer
    return bounds


def _ordered(pairs: pl.DataFrame, choice: PairChoice, noise: Noise) -> pl.DataFrame:
    """The pairs, those of each prompt in the order in which the rule prefers them."""
    gap = pl.col("gap")
    if choice.rule == "best_random":
        return pairs.sort("prompt", "rejected_draw")
    if choice.rule == "best_below":
        return pairs.sort("prompt", "rejected_reward", "rejected_draw", descending=[False, True, False])
    wanted = gap.max().over("prompt") if choice.rule == "best_worst" else gap.min().over("prompt")
    alike = (wanted - gap).abs() <= noise(wanted, gap)
    return pairs.filter(alike).sort("prompt", "chosen_draw", "rejected_draw", descending=[False, False, True])


def _first_of_each(pairs: pl.DataFrame, choice: PairChoice) -> pl.DataFrame:
    place = choice.below - 1 if choice.rule == "best_below" else 0
    taken = pairs.filter(pl.int_range(pl.len()).over("prompt") == place)
    return taken.select(
        "prompt",
        chosen="chosen_row",
        score_chosen="chosen_reward",
        rejected="rejected_row",
        score_rejected="rejected_reward",
    )
