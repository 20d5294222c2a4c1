"""Pairs by another rule than the best against the worst response, and bounds on length and likeness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import polars as pl
from rapidfuzz.distance import Indel
from rapidfuzz.process import cpdist

LENGTH_GAP = "length_gap"
NEAR_IDENTICAL = "near_identical"
FEWER_BELOW = "fewer_below"

PairRule: TypeAlias = Literal["best_worst", "best_random", "best_below", "margin", "ranked"]
Noise: TypeAlias = Callable[[pl.Expr, pl.Expr], pl.Expr]
"""The largest difference of two rewards that count as equal."""

_CHOSEN, _REJECTED = "chosen_", "rejected_"
_COMPARED = 20_000
"""Pairs whose texts are compared together, so that few texts exist as Python strings."""


@dataclass(frozen=True)
class PairChoice:
    """Which of a prompt's possible pairs is taken. A pair is possible if its rewards differ in the right direction."""

    rule: PairRule = "best_worst"
    """`best_worst`: the largest difference. `best_random`: the best response against one drawn from the worse ones.
    `best_below`: the best against the one that many places `below` it. `margin`: the smallest difference that is not
    below `margin`. `ranked`: the largest difference, then the largest among the responses that are left, and so on."""
    below: int = 1
    per_prompt: int | None = None
    """Most pairs of a prompt under `ranked`; null sets no bound."""
    margin: float | None = None
    min_chosen: float | None = None
    max_length_gap: float | None = None
    """Largest difference in characters, as a share of the longer response; null sets no bound."""
    max_similarity: float | None = None
    """Largest `similarity` of the two texts; null sets no bound."""

    @property
    def is_plain(self) -> bool:
        """Whether the best and the worst response are the pair, whatever their lengths."""
        return self.rule == "best_worst" and self.max_length_gap is None and self.max_similarity is None


def choose(
    candidates: pl.DataFrame, best: pl.DataFrame, texts: pl.Series, choice: PairChoice, noise: Noise
) -> pl.DataFrame:
    """One row per prompt with a possible pair: `prompt`, `lacks`, and the pair that is chosen.

    Under `ranked`, one row per pair: no two pairs of a prompt share a response.

    `candidates` has one row per distinct response: `prompt`, `row`, `reward`, `complete` (it may be chosen), `other`
    (it may be rejected), `draw` (uniform in [0, 1) and keyed by the text), `length` (characters). `texts` holds the
    text of each `row`. `best` has the `row` of each prompt's best complete response as `chosen`. The columns of the
    pair are `chosen`, `score_chosen`, `rejected` and `score_rejected`. They are null if no possible pair keeps the
    bounds; `lacks` is then `length_gap`, `near_identical` if every pair that keeps the other bounds has too similar
    texts, or `fewer_below` if fewer responses than `below` are worse.
    """
    high, low = pl.col("chosen_reward"), pl.col("rejected_reward")
    sides = [
        candidates.rename({name: side + name for name in candidates.columns if name != "prompt"})
        for side in (_CHOSEN, _REJECTED)
    ]
    first = sides[0].filter("chosen_complete")
    second = sides[1].filter("rejected_other")
    if choice.rule in ("best_random", "best_below"):
        first = first.join(best.select("prompt", chosen_row="chosen"), on=["prompt", "chosen_row"], how="semi")
    possible = first.join(second, on="prompt").with_columns(gap=high - low).filter(pl.col("gap") > noise(high, low))
    bounded = possible.filter(_keeps_bounds(choice, noise))
    kept = bounded if choice.max_similarity is None else _dissimilar(bounded, texts, choice.max_similarity)
    found = _pairs_in_turn(kept, choice, noise)
    return (
        possible.select("prompt")
        .unique(maintain_order=True)
        .join(found, on="prompt", how="left", maintain_order="left")
        .join(bounded.select("prompt", bounded=pl.lit(True)).unique(), on="prompt", how="left", maintain_order="left")
        .join(kept.select("prompt", kept=pl.lit(True)).unique(), on="prompt", how="left", maintain_order="left")
        .with_columns(
            lacks=pl.when(pl.col("chosen").is_not_null())
            .then(pl.lit(None, pl.String))
            .when(pl.col("bounded").is_null())
            .then(pl.lit(LENGTH_GAP))
            .when(pl.col("kept").is_null())
            .then(pl.lit(NEAR_IDENTICAL))
            .otherwise(pl.lit(FEWER_BELOW))
        )
        .drop("bounded", "kept")
    )


def similarity(one: pl.Series, other: pl.Series, *, least: float = 0.0) -> pl.Series:
    """How much of two texts is the same, in [0, 1]: 1 - (inserted and deleted characters) / (characters of both).

    White space counts as one space between words. A similarity below `least` may be given as 0, which is faster to
    find out. Of texts without characters it is 1. The measure is rapidfuzz's Indel similarity.
    """
    texts = pl.DataFrame({"one": one, "other": other}).select(
        pl.all().str.replace_all(r"\s+", " ").str.strip_chars(" ")
    )
    found: list[float] = []
    for part in texts.iter_slices(_COMPARED):
        compared = cpdist(
            part["one"].to_list(), part["other"].to_list(), scorer=Indel.normalized_similarity, score_cutoff=least
        )
        found += compared.tolist()
    return pl.Series("similarity", found, dtype=pl.Float64)


def _dissimilar(pairs: pl.DataFrame, texts: pl.Series, most: float) -> pl.DataFrame:
    """The pairs whose texts are not more similar than `most`."""
    alike = similarity(texts.gather(pairs["chosen_row"]), texts.gather(pairs["rejected_row"]), least=most)
    return pairs.filter(alike <= most)


def _pairs_in_turn(kept: pl.DataFrame, choice: PairChoice, noise: Noise) -> pl.DataFrame:
    """The first pair of each prompt, and under `ranked` more, as long as two responses are left that make a pair."""
    found, left = [_first_of_each(_ordered(kept, choice, noise), choice)], kept
    while choice.rule == "ranked" and found[-1].height and len(found) != choice.per_prompt:
        taken = found[-1].select("prompt", one="chosen", other="rejected")
        free = ~pl.any_horizontal(
            pl.col(row) == pl.col(used) for row in ("chosen_row", "rejected_row") for used in ("one", "other")
        )
        left = left.join(taken, on="prompt", maintain_order="left").filter(free).drop("one", "other")
        found.append(_first_of_each(_ordered(left, choice, noise), choice))
    return pl.concat(found)


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
    wanted = gap.min().over("prompt") if choice.rule == "margin" else gap.max().over("prompt")
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
