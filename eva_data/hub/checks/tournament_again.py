"""Plays the tournaments of an iteration again by their stored verdicts: who met whom, and which rewards follow."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from eva_data.comparing.tournament import distinct, matches_of, points_of
from eva_data.config import Tournament
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import Table, height_of, in_memory
from eva_data.dataset.staleness import config_of
from eva_data.method.signals.tournament import TOURNAMENT, tournament_rewards
from eva_data.tables.ids import uniform_draw
from eva_data.tables.ranges import ranges_for
from eva_data.tables.schemas import STANDARD_ERROR

MOST_PAIRED = 20_000
"""Tournaments whose rounds are paired again, drawn by hash; a minute's work. All rewards are computed again."""

NOISE = 1e-9
"""How far two results of the same sums may differ on two machines."""

_KEY = ("stage", "prompt_id", "response_idx")
_SHOWN = 3


def replay_tournament(manifest: Manifest, tables: Mapping[str, Table]) -> list[str]:
    """The differences between the tables and what follows from the verdicts, one sentence each.

    A copied response has the verdicts of the stage that it was copied from.
    """
    block = config_of(manifest).reward
    # What judges said that could not be read decides nothing.
    comparisons = tables["comparisons"].lazy().drop("raw")
    compared = height_of(comparisons)
    by_tournament = pl.col("reward_model").str.starts_with(TOURNAMENT)
    if not isinstance(block, Tournament):
        by_tournament = pl.lit(False)
    # Texts matter only as far as they are equal.
    responses = tables["responses"].lazy().filter(by_tournament).with_columns(pl.col("response").hash())
    height = height_of(responses)
    if not isinstance(block, Tournament) or not height:
        return [f"comparisons: {compared} rows, where no reward compares"] if compared else []
    judges = in_memory(comparisons.select(pl.col("judge").unique()))
    wrong: list[pl.DataFrame] = []
    played: list[pl.DataFrame] = []
    for part in ranges_for(max(height, compared)):
        scored = in_memory(part.of(responses).select(*_KEY, "response", "reused", "reward", *STANDARD_ERROR))
        verdicts = in_memory(part.of(comparisons))
        wrong.append(_wrongly_scored(scored, verdicts))
        tournaments = _played(scored, verdicts, judges, manifest.iteration)
        played = [pl.concat([*played, tournaments]).bottom_k(MOST_PAIRED, by="order")]
    found = _astray(block, played[0])
    if judges.height not in (0, len(block.judges)):
        found.append(f"comparisons: verdicts of {judges.height} judges, where {len(block.judges)} compare")
    for _, rows in pl.concat(wrong).sort("source", *_KEY).group_by("source", maintain_order=True):
        named = ", ".join(rows.head(_SHOWN).select(pl.concat_str(_KEY, separator="/")).to_series())
        more = f" and {rows.height - _SHOWN} more" if rows.height > _SHOWN else ""
        found.append(f"responses: {rows.height} have rewards that the verdicts do not give: {named}{more}")
    return found


def _wrongly_scored(scored: pl.DataFrame, comparisons: pl.DataFrame) -> pl.DataFrame:
    """The responses whose rewards do not follow from the verdicts, with the stage that the verdicts are of."""
    wrong = [scored.clear().select(*_KEY, source="stage")]
    source = pl.when("reused").then(pl.lit("estimate")).otherwise("stage")
    for (stage,), part in scored.with_columns(source=source).group_by("source", maintain_order=True):
        one = part.unique(["prompt_id", "response_idx"], maintain_order=True)
        again = tournament_rewards(one, comparisons.filter(pl.col("stage") == stage))
        both = part.join(again, on=["prompt_id", "response_idx"], how="left", suffix="_now")
        differ = pl.any_horizontal(_differ(name) for name in ("reward", *STANDARD_ERROR))
        wrong.append(both.filter(differ).select(*_KEY, "source"))
    return pl.concat(wrong)


def _differ(name: str) -> pl.Expr:
    one, other = pl.col(name), pl.col(f"{name}_now")
    return (one.is_null() != other.is_null()) | ((one - other).abs() > NOISE).fill_null(False)


def _played(scored: pl.DataFrame, comparisons: pl.DataFrame, judges: pl.DataFrame, iteration: int) -> pl.DataFrame:
    """The tournaments of a range of prompts, one row each: players and verdicts, and the `order` of a draw."""
    key = ["stage", "prompt_id"]
    fresh = scored.filter(~pl.col("reused")).group_by(key).agg("response_idx", "response")
    played = comparisons.group_by(*key, "judge").agg(pl.struct("round", "first_idx", "second_idx", "verdict"))
    every = fresh.join(judges, how="cross").join(played, on=[*key, "judge"], how="full", coalesce=True)
    order = uniform_draw(pl.concat_str(*key, "judge", separator="/"), seed=0, stage="verify", iteration=iteration)
    return every.with_columns(order=order)


def _astray(block: Tournament, played: pl.DataFrame) -> list[str]:
    """Tournaments in which other responses met than the schedule pairs, or in one order only."""
    wrong = [
        f"{row['stage']}/{row['prompt_id']}"
        for row in played.sort("stage", "prompt_id", "judge").iter_rows(named=True)
        if row["response_idx"] is None or not _follows(block, row)
    ]
    if not wrong:
        return []
    more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    named = ", ".join(wrong[:_SHOWN])
    return [f"comparisons: in {len(wrong)} tournaments others met than follows from the verdicts: {named}{more}"]


def _follows(block: Tournament, row: Mapping[str, object]) -> bool:
    indices, texts, verdicts = row["response_idx"], row["response"], row["round"] or []
    assert isinstance(indices, list)
    assert isinstance(texts, list)
    assert isinstance(verdicts, list)
    players = list(distinct(indices, texts))
    number, left = 1, len(verdicts)
    while matches := matches_of(number, block, players, points_of(v for v in verdicts if v["round"] < number)):
        expected = sorted(order for one, other in matches for order in ((one, other), (other, one)))
        if expected != sorted((v["first_idx"], v["second_idx"]) for v in verdicts if v["round"] == number):
            return False
        left -= len(expected)
        number += 1
    return left == 0
