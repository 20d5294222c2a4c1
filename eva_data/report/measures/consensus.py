"""How often the consensus of responses is right, told by the anchors: prompts with a known answer.

Nobody knows how often it is right elsewhere. Anchors are mostly seeds, and evolved prompts are harder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.config import Config, Consensus
from eva_data.dataset.store import Store
from eva_data.report.numbers import JOINED_PROMPTS
from eva_data.statistics.shares import share
from eva_data.tables.ranges import id_ranges

PRECISE = 0.9
"""The share of right consensus answers below which an alarm goes off. It is our choice: a reward that is wrong more
often than that teaches mistakes."""

BEYOND = 1.0
"""By how many standard errors agreement must rise, and accuracy fall, for an alarm. If both were independent noise,
that would happen in one of 40 iterations."""

VOTED = pl.Schema(
    {
        "iteration": pl.Int32,
        "prompts": pl.Int64,  # of X_t, with a response
        "agreed": pl.Int64,  # with a consensus
        "agreement": pl.Float64,  # mean over prompts with a vote
        "anchors": pl.Int64,  # of the prompts, with a known answer
        "accuracy": pl.Float64,  # mean share of right responses to an anchor; null without anchors
        "labelled": pl.Int64,  # anchors with a consensus
        "right": pl.Int64,  # anchors whose consensus is the known answer
    }
)
"""One row per iteration whose rewards are a consensus."""

PRECISION = pl.Schema(
    {
        "iteration": pl.Int32,
        "depth": pl.Int32,
        "agreement": pl.Float64,  # lower end of a range of .1; 1 if all votes agree
        "agreed": pl.Int64,
        "labelled": pl.Int64,
        "right": pl.Int64,
    }
)
"""One row per iteration, depth and range of agreement that holds a prompt with a consensus."""

_LABELLED = pl.col("consensus").is_not_null() & pl.col("known_answer").is_not_null()
_RIGHT = (pl.col("consensus") == pl.col("known_answer")).fill_null(False)


@dataclass(frozen=True)
class Precision:
    """How often a consensus is right, over several iterations."""

    voted: pl.DataFrame
    """VOTED"""
    by_agreement: pl.DataFrame
    """PRECISION"""
    alarms: tuple[str, ...]


def precision_of(store: Store, iterations: Sequence[int]) -> Precision | None:
    """The figures of these iterations; None if no reward of theirs is a consensus."""
    informative = {each: store.scan("informativeness", each) for each in iterations}
    by_vote = [each for each, table in informative.items() if _has_votes(table)]
    if not by_vote:
        return None
    voted = pl.concat([voted_on(informative[each], each) for each in by_vote])
    alarms: list[str] = []
    for each in by_vote:
        alarms += imprecise(voted.filter(pl.col("iteration") == each).row(0, named=True))
        alarms += drifted(informative[each - 1], informative[each], each) if each - 1 in by_vote else []
    return Precision(voted, pl.concat([_by_agreement(store, each) for each in by_vote]), tuple(alarms))


def notes_of(config: Config, iteration: int, informativeness: pl.LazyFrame, before: pl.LazyFrame | None) -> list[str]:
    """What the user should know of the consensus of an iteration that was just built, alarms last.

    `informativeness` is INFORMATIVENESS of the iteration, and `before` of the iteration before, if there is one.
    """
    block = config.reward
    if not isinstance(block, Consensus) or not _has_votes(informativeness):
        return []
    row = voted_on(informativeness, iteration).row(0, named=True)
    notes = [f"{row['agreed']} of {row['prompts']} prompts of X_{iteration} have a consensus"]
    if block.answers is None:
        notes.append("no prompt has a known answer, so nobody can say how often it is right: name `reward.answers`")
    elif row["anchors"] < math.ceil(block.anchors * row["prompts"] - 1e-9):
        notes.append(
            f"X_{iteration} has {row['anchors']} anchors among {row['prompts']} prompts, fewer than `reward.anchors` "
            f"{block.anchors:g} asks for, since there are no more to take"
        )
    if row["labelled"]:
        notes.append(f"the consensus is right for {row['right']} of {row['labelled']} anchors that have one")
    alarms = imprecise(row)
    alarms += drifted(before, informativeness, iteration) if before is not None else []
    return [*notes, *(f"ALARM: {each}" for each in alarms)]


def voted_on(informativeness: pl.LazyFrame, iteration: int) -> pl.DataFrame:
    """VOTED of one iteration, in one row."""
    anchor = pl.col("known_answer").is_not_null()
    columns = {
        "iteration": pl.lit(iteration),
        "prompts": pl.len(),
        "agreed": pl.col("consensus").count(),
        "agreement": pl.col("agreement").mean(),
        "anchors": anchor.sum(),
        "accuracy": pl.col("reward_mean").filter(anchor).mean(),
        "labelled": _LABELLED.sum(),
        "right": _RIGHT.sum(),
    }
    respond = informativeness.filter(pl.col("stage") == "respond")
    return respond.select(columns[name].cast(dtype).alias(name) for name, dtype in VOTED.items()).collect(
        engine="streaming"
    )


def interval(right: int, labelled: int) -> str:
    """A precision with Wilson's 95 % interval, such as `97.3 % [92.1, 99.0]`; empty without labels."""
    if not labelled:
        return ""
    found = share(right, labelled)
    return f"{100 * found.estimate:.1f} % [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def span(agreement: float) -> str:
    """A range of agreement in words, by its lower end."""
    return "1" if agreement >= 1 else f"{agreement:.1f} to {agreement + 0.1:.1f}"


def imprecise(row: Mapping[str, Any]) -> list[str]:
    """The alarm of a row of VOTED whose consensus is surely right less often than PRECISE; else nothing."""
    if not row["labelled"] or share(row["right"], row["labelled"]).high >= PRECISE:
        return []
    return [
        f"in iteration {row['iteration']} the consensus is right for {row['right']} of {row['labelled']} anchors only, "
        f"{interval(row['right'], row['labelled'])}, at a mean agreement of {row['agreement']:.2f}: the solver shares "
        "mistakes, so that the rewards of prompts without a known answer teach them; raise `reward.min_agreement`, or "
        "use a reward that knows the answer"
    ]


def drifted(before: pl.LazyFrame, now: pl.LazyFrame, iteration: int) -> list[str]:
    """The alarm that the solver agrees more and is right less often than the solver before; else nothing.

    `before` and `now` are INFORMATIVENESS of iteration t - 1 and t. Compared are the prompts that both solvers
    answered: all of X_{t-1} if the new solver answered them again, or else the prompts that X_t carries. So it does not
    matter that evolved prompts are harder. Both changes must be larger than BEYOND standard errors.
    """
    columns = ("agreement", "accuracy")
    anchor = pl.col("known_answer").is_not_null()
    figures = ("prompt_id", "solver", "agreement", pl.when(anchor).then("reward_mean").alias("accuracy"))
    earlier = before.filter(pl.col("stage") == "respond").select(figures)
    later = now.sort("stage").select(figures)
    both = (
        later.join(earlier, on="prompt_id", suffix="_before")
        .filter(pl.col("solver").ne_missing(pl.col("solver_before")))
        .unique("prompt_id", keep="first", maintain_order=True)
        .with_columns((pl.col(name) - pl.col(f"{name}_before")).alias(f"{name}_change") for name in columns)
        .collect(engine="streaming")
    )
    change: dict[str, tuple[float, float, int]] = {}
    for name in columns:
        rows = both.filter(pl.col(f"{name}_change").is_not_null())
        found = rows.select(
            then=pl.col(f"{name}_before").mean(),
            then_now=pl.col(name).mean(),
            by=pl.col(f"{name}_change").mean(),
            error=pl.col(f"{name}_change").std() / pl.len().sqrt(),
        ).row(0, named=True)
        if found["error"] is None or abs(found["by"]) <= BEYOND * found["error"]:
            return []
        change[name] = (found["then"], found["then_now"], rows.height)
    (agreed, agrees, prompts), (right, rights, anchors) = (change[name] for name in columns)
    if agrees <= agreed or rights >= right:
        return []
    return [
        f"from iteration {iteration - 1} to {iteration}, the mean agreement on {prompts} prompts that both solvers "
        f"answered rose from {agreed:.3f} to {agrees:.3f}, and the share of right responses to {anchors} anchors fell "
        f"from {right:.3f} to {rights:.3f}: the solver learns to agree and not to be right; do not train it further on "
        "this reward"
    ]


def _has_votes(informativeness: pl.LazyFrame) -> bool:
    return bool(informativeness.select(pl.col("votes").count()).collect(engine="streaming").item())


def _by_agreement(store: Store, iteration: int) -> pl.DataFrame:
    """PRECISION of one iteration."""
    rows = store.scan("informativeness", iteration).filter(
        (pl.col("stage") == "respond") & pl.col("consensus").is_not_null()
    )
    depths = store.scan("prompts", iteration).select("prompt_id", "depth")
    height = int(depths.select(pl.len()).collect(engine="streaming").item())
    # A ratio such as 0.7 lies above or below its own decimal, so the tenth is taken after rounding.
    tenth = ((pl.col("agreement") * 10).round(6).floor() / 10).round(1)
    parts = [
        part.of(rows)
        .join(part.of(depths), on="prompt_id", how="left")
        .group_by("depth", agreement=tenth)
        .agg(agreed=pl.len(), labelled=_LABELLED.sum(), right=_RIGHT.sum())
        .collect(engine="streaming")
        for part in id_ranges(-(-max(height, 1) // JOINED_PROMPTS))
    ]
    found = pl.concat(parts).group_by("depth", "agreement").sum().with_columns(iteration=pl.lit(iteration))
    return found.select(pl.col(name).cast(dtype) for name, dtype in PRECISION.items()).sort("depth", "agreement")
