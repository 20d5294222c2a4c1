"""Rewards by language models that compare the responses to a prompt two by two, in a tournament.

Here the judges are asked. The strengths are computed from their verdicts alone (`method.signals.tournament`), so that
they can be computed again from published tables.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from eva_data.calls import Rows
from eva_data.comparing.orders import FIRST, SECOND, flips
from eva_data.comparing.tournament import MatchVerdict, most_matches, play
from eva_data.comparing.verdict import SCORES
from eva_data.config import Tournament
from eva_data.dataset.ordered import height_of, in_memory
from eva_data.errors import DataError
from eva_data.jobs.job import Job
from eva_data.jobs.shards import by_shards
from eva_data.method.signals.tournament import TOURNAMENT
from eva_data.models.player import player_of
from eva_data.rewards.scorers import Scorer, short_hash
from eva_data.tables.ranges import ranges_for

WHILE_TRAINING = False
"""A response has no strength by itself."""

COUNTED_AT_ONCE = 500_000
"""Verdicts that are counted together."""

SHOWN_CHARACTERS = 300
"""So many characters at the end of an unreadable reply of a judge are shown, where its verdict should be."""


def scorer_of(block: Tournament) -> Scorer:
    """The scorer: the language models that compare, their question, and who meets whom."""
    judges = tuple(player_of(judge) for judge in block.judges)
    asked = short_hash(block.identity() | {"judges": [judge.block.identity() for judge in judges]})
    names = ", ".join(judge.fingerprint for judge in judges)
    return Scorer(block, f"{TOURNAMENT}{names}:{asked}", judges=judges)


def compare_rows(job: Job, rows: Rows) -> Iterator[list[MatchVerdict]]:
    """The verdicts of one judge on each row. This runs in a child process; the ledger keeps every reply."""
    block = job.settings
    assert isinstance(block, Tournament)
    # Every question may need a second request, and every match has two orders.
    return by_shards(
        job, rows, lambda row: play(row, block), lambda row: 4 * most_matches(block, len(row["responses"]))
    )


def told(comparisons: pl.LazyFrame, stage: str) -> Iterator[str]:
    """How often each judge's verdict turned with the order, in percent, and how often it had none."""
    numbers = comparisons.select("prompt_id", "judge", "first_idx", "second_idx", "verdict")
    parts = [_counted(in_memory(part.of(numbers))) for part in ranges_for(height_of(comparisons), COUNTED_AT_ONCE)]
    for row in pl.concat(parts).group_by("judge").sum().sort("judge").to_dicts():
        name, both, decided = row["judge"], row["both"], row["decided"]
        turned = f"{100 * row['flipped'] / both:.0f} %" if both else "none"
        first = f"{100 * row['first'] / decided:.0f} %" if decided else "none"
        yield (
            f"{stage}: the verdict of the judge {name} turned with the order in {turned} of {both} comparisons; of its "
            f"{row['asked']} replies {row['ties']} are ties and {row['missing']} hold no verdict, and "
            f"{first} of the {decided} others prefer the response that was shown first"
        )


def _counted(comparisons: pl.DataFrame) -> pl.DataFrame:
    """One row per judge: what `flips` gives, and how many replies are `asked` for, `ties` and `missing`."""
    own = pl.col("verdict").replace_strict(SCORES, default=None, return_dtype=pl.Float64)
    swapped = pl.col("first_idx") > pl.col("second_idx")
    sides = comparisons.with_columns(
        order=pl.when(swapped).then(pl.lit(SECOND)).otherwise(pl.lit(FIRST)),
        score=pl.when(swapped).then(1 - own).otherwise(own),
        lower=pl.min_horizontal("first_idx", "second_idx"),
        upper=pl.max_horizontal("first_idx", "second_idx"),
    )
    replies = comparisons.group_by("judge").agg(
        asked=pl.len(), ties=(pl.col("verdict") == "tie").sum(), missing=pl.col("verdict").is_null().sum()
    )
    return flips(sides, ["prompt_id", "lower", "upper"]).join(replies, on="judge")


def refuse_without_verdict(comparisons: pl.LazyFrame, judge: str) -> None:
    """Raise DataError if a judge gave no verdict at all (COMPARISONS) because its replies held none."""
    counts = in_memory(comparisons.select(pl.len(), verdicts=pl.col("verdict").count(), replies=pl.col("raw").count()))
    height, verdicts, replies = counts.row(0)
    if verdicts or not replies:
        return
    first = in_memory(comparisons.select("raw").drop_nulls().head(1)).item()
    raise DataError(
        f"the judge {judge} gave no verdict in {height} comparisons: its replies hold none that can be "
        f"read, such as `{end_of(first)}`; it must end with a line `Verdict: first`, `Verdict: second` or "
        "`Verdict: tie`: ask for that in `reward.template`, raise its `max_tokens` where the reply was cut, or take "
        "another judge"
    )


def end_of(reply: str) -> str:
    """The end of a reply, where its verdict should be."""
    return reply if len(reply) <= SHOWN_CHARACTERS else f"... {reply[-SHOWN_CHARACTERS:]}"
