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
from eva_data.errors import DataError
from eva_data.jobs.job import Job
from eva_data.method.signals.tournament import TOURNAMENT
from eva_data.models.player import player_of
from eva_data.rewards.scorers import Scorer, short_hash

WHILE_TRAINING = False
"""A response has no strength by itself."""

SHOWN_CHARACTERS = 300
"""So many characters at the end of an unreadable reply of a judge are shown, where its verdict should be."""


def scorer_of(block: Tournament) -> Scorer:
    """The scorer: the language models that compare, their question, and who meets whom."""
    judges = tuple(player_of(judge) for judge in block.judges)
    asked = short_hash(block.identity() | {"judges": [judge.block.identity() for judge in judges]})
    names = ", ".join(judge.fingerprint for judge in judges)
    return Scorer(block, f"{TOURNAMENT}{names}:{asked}", judges=judges)


def compare_rows(job: Job, rows: Rows) -> list[list[MatchVerdict]]:
    """The verdicts of one judge on each row. This runs in a child process; the ledger keeps every reply."""
    block = job.settings
    assert isinstance(block, Tournament)
    llm = job.llm()
    llm.load()
    # Every question may need a second request, and every match has two orders.
    expected = sum(4 * most_matches(block, len(row["responses"])) for row in rows)
    verdicts = llm.drive([play(row, block) for row in rows], expected)
    llm.unload()
    return verdicts


def told(comparisons: pl.DataFrame, stage: str) -> Iterator[str]:
    """How often each judge's verdict turned with the order, in percent, and how often it had none."""
    own = pl.col("verdict").replace_strict(SCORES, default=None, return_dtype=pl.Float64)
    swapped = pl.col("first_idx") > pl.col("second_idx")
    sides = comparisons.with_columns(
        order=pl.when(swapped).then(pl.lit(SECOND)).otherwise(pl.lit(FIRST)),
        score=pl.when(swapped).then(1 - own).otherwise(own),
        lower=pl.min_horizontal("first_idx", "second_idx"),
        upper=pl.max_horizontal("first_idx", "second_idx"),
    )
    asked = dict(comparisons["judge"].value_counts().iter_rows())
    missing = dict(comparisons.filter(pl.col("verdict").is_null())["judge"].value_counts().iter_rows())
    ties = dict(comparisons.filter(pl.col("verdict") == "tie")["judge"].value_counts().iter_rows())
    for row in flips(sides, ["prompt_id", "lower", "upper"]).to_dicts():
        name, both, decided = row["judge"], row["both"], row["decided"]
        turned = f"{100 * row['flipped'] / both:.0f} %" if both else "none"
        first = f"{100 * row['first'] / decided:.0f} %" if decided else "none"
        yield (
            f"{stage}: the verdict of the judge {name} turned with the order in {turned} of {both} comparisons; of its "
            f"{asked[name]} replies {ties.get(name, 0)} are ties and {missing.get(name, 0)} hold no verdict, and "
            f"{first} of the {decided} others prefer the response that was shown first"
        )


def refuse_without_verdict(comparisons: pl.DataFrame, judge: str) -> None:
    """Raise DataError if a judge gave no verdict at all (COMPARISONS) because its replies held none."""
    replies = comparisons["raw"].drop_nulls()
    if replies.is_empty() or comparisons["verdict"].count():
        return
    raise DataError(
        f"the judge {judge} gave no verdict in {comparisons.height} comparisons: its replies hold none that can be "
        f"read, such as `{end_of(replies[0])}`; it must end with a line `Verdict: first`, `Verdict: second` or "
        "`Verdict: tie`: ask for that in `reward.template`, raise its `max_tokens` where the reply was cut, or take "
        "another judge"
    )


def end_of(reply: str) -> str:
    """The end of a reply, where its verdict should be."""
    return reply if len(reply) <= SHOWN_CHARACTERS else f"... {reply[-SHOWN_CHARACTERS:]}"
