"""The reward stage: the configured reward, or each of several rewards, scores every response once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.comparing.verdict import VERDICT_FORMAT
from eva_data.config import Consensus, Judge, LocalReward, Tournament, Verifier
from eva_data.dataset.ordered import Table, height_of, in_memory
from eva_data.dataset.spool import Spool
from eva_data.errors import DataError
from eva_data.iteration.run import Run
from eva_data.jobs.results import ForJob, Parted
from eva_data.method.responses import rewarded, unscored
from eva_data.method.signals.tournament import tournament_rewards
from eva_data.method.signals.votes import Vote, consensus_rewards
from eva_data.models.ratings.rating import UNPARSABLE
from eva_data.rewards.backends.consensus import judge_rows, read_rows, with_known
from eva_data.rewards.backends.tournament import compare_rows, end_of, refuse_without_verdict, told
from eva_data.rewards.scorers import Scorer, reward_model
from eva_data.rewards.several import averaged, reward_scales
from eva_data.tables.ranges import IdRange, ranges_for
from eva_data.tables.schemas import CARRIED, COMPARISONS, ORDER, READ_ANSWERS, REJECTS, RESPONSES, empty, frame_of

SCORES = pl.Schema(
    {
        "prompt_id": pl.String,
        "response_idx": pl.Int32,
        "reward_model": pl.String,
        "reward": pl.Float64,
        "reason": pl.String,
        "raw": pl.String,
    }
)
"""One row per response and reward model. `reason` says why `reward` is null; `raw` is the judge's reply then."""

_READ = pl.Schema({"prompt_id": pl.String, "response_idx": pl.Int32, **READ_ANSWERS})

JOB_ROWS = 30_000
"""Responses that are in memory at once while they are written for a job."""

Scales = Mapping[str, Sequence[float]]
"""Reward model -> mean and deviation by which the model's rewards are standardised."""


@dataclass(frozen=True)
class Scored:
    """The responses after the reward stage."""

    responses: pl.LazyFrame
    """RESPONSES with rewards. They lie in the work folder if they are many."""
    rejects: pl.LazyFrame
    """REJECTS: one row per response without a usable reward."""
    scales: Scales
    comparisons: pl.LazyFrame = field(default_factory=lambda: empty(COMPARISONS).lazy())
    """COMPARISONS: the verdicts of a tournament; no rows with other rewards. They lie in the work folder if many."""
    notes: tuple[str, ...] = ()
    """What the user was told about judges that compare."""


def score(
    run: Run,
    answered: pl.LazyFrame,
    prompts: Table,
    *,
    stage: str,
    iteration: int,
    scales: Scales | None = None,
) -> Scored:
    """Score the responses.

    Several rewards are standardised and averaged. `scales` holds the constants; None computes them from these
    responses. Raise DataError if a judge rated no response at all.
    """
    carried = CARRIED if any(reads_carried(scorer) for scorer in run.scorers) else ()
    asked = prompts.lazy().select("prompt_id", "prompt", *carried)
    rows = _by_prompt(answered, asked)
    for scorer in run.scorers:
        block = scorer.block
        if isinstance(block, Consensus):
            return _by_consensus(run, scorer, block, answered, rows, stage=stage, iteration=iteration)
        if isinstance(block, Tournament):
            return _by_tournament(run, scorer, block, answered, rows, stage=stage, iteration=iteration)
    folder = run.store.work_folder(iteration)
    each = [
        scored_by(run, scorer, rows, folder, stage=stage, name=f"reward-{stage}-{number}", iteration=iteration)
        for number, scorer in enumerate(run.scorers)
    ]
    every, constants = pl.concat(each), scales or {}
    if len(each) > 1 and not constants:
        constants = reward_scales(in_memory(every.select("reward_model", "reward")))

    def found_in(part: IdRange) -> tuple[pl.DataFrame, pl.DataFrame]:
        given, scores = in_memory(part.of(answered)), in_memory(part.of(every))
        return given, _together(scores, constants) if len(each) > 1 else scores

    return replace(_by_ranges(run, answered, found_in, stage=stage, iteration=iteration), scales=constants)


def _together(scores: pl.DataFrame, scales: Scales) -> pl.DataFrame:
    """The scores of several rewards (SCORES) as one per response, with the first reply of a judge that is known."""
    raw = scores.group_by("prompt_id", "response_idx").agg(raw=pl.col("raw").drop_nulls().first())
    return averaged(scores, scales).join(raw, on=["prompt_id", "response_idx"], how="left")


def _by_ranges(
    run: Run,
    answered: pl.LazyFrame,
    found_in: Callable[[IdRange], tuple[pl.DataFrame, pl.DataFrame]],
    *,
    stage: str,
    iteration: int,
) -> Scored:
    """The responses with rewards, range by range. `found_in` gives the responses of a range of prompts and scores."""
    folder, name = run.store.work_folder(iteration), reward_model(run.scorers)
    scored, failed = Spool(folder, f"{stage}-scored", RESPONSES), Spool(folder, f"{stage}-unscored", REJECTS)
    for part in ranges_for(height_of(answered)):
        given, scores = found_in(part)
        scored.add(rewarded(given, scores, reward_model=name))
        failed.add(unscored(given, scores, iteration=iteration))
    return Scored(scored.table(), failed.table(), {})


def _by_prompt(answered: pl.LazyFrame, asked: pl.LazyFrame) -> Parted:
    """One row per prompt with all its responses, in the order of their ids. Texts of a range of ids are in memory."""
    ids = answered.select("prompt_id").unique().join(asked.select("prompt_id"), on="prompt_id", how="semi")
    carried = [column for column in asked.collect_schema() if column not in ("prompt_id", "prompt")]
    ranges = ranges_for(height_of(answered), JOB_ROWS)

    def parts() -> Iterator[pl.DataFrame]:
        for part in ranges:
            yield (
                in_memory(part.of(answered).select("prompt_id", "response_idx", "response"))
                .sort("prompt_id", "response_idx")
                .group_by("prompt_id", maintain_order=True)
                .agg("response_idx", responses=pl.col("response"))
                .lazy()
                .join(part.of(asked), on="prompt_id", maintain_order="left")
                .select("prompt_id", "prompt", "response_idx", "responses", *carried)
                .collect()
            )

    return Parted(height_of(ids), parts)


def reads_carried(scorer: Scorer) -> bool:
    """Whether a reward reads what the prompts carry."""
    return isinstance(scorer.block, Verifier) and scorer.block.carried


def _by_consensus(
    run: Run,
    scorer: Scorer,
    block: Consensus,
    answered: pl.LazyFrame,
    rows: Parted,
    *,
    stage: str,
    iteration: int,
) -> Scored:
    """Read the answers of all responses, and let them vote. It stands alone, so that there are no scales."""
    folder, notes = f"reward-{stage}-0", []
    if scorer.judge is None:
        results = run.compute(
            "reward",
            rows,
            iteration=iteration,
            settings=block,
            function=read_rows,
            folder=folder,
            shown="reward",
            scorer=scorer.fingerprint,
        )
    else:
        results = run.ask(
            scorer.judge,
            "judge",
            with_known(block, rows),
            iteration=iteration,
            stage=f"judge ({stage})",
            settings=block,
            key="reward.judge",
            folder=folder,
            shown="judge",
            framed=True,
            function=judge_rows,
        )
        if unjudged := sum(len(result["unjudged"]) for _, result in results):
            notes.append(
                run.note(f"{stage}: {unjudged} comparisons of answers have no verdict, and count as different")
            )
    remaining = (
        (row["prompt_id"], index, answer, result["known"])
        for row, result in results
        for index, answer in zip(row["response_idx"], result["answers"], strict=True)
    )
    read = _spooled(remaining, Spool(run.store.work_folder(iteration), f"{folder}-read", _READ))
    vote = Vote(block.min_votes, block.min_agreement)

    def found_in(part: IdRange) -> tuple[pl.DataFrame, pl.DataFrame]:
        voters = (
            in_memory(part.of(answered))
            .drop(READ_ANSWERS)
            .join(in_memory(part.of(read)), on=["prompt_id", "response_idx"], how="left")
            .with_columns(reward_model=pl.lit(scorer.fingerprint))
        )
        scores = in_memory(consensus_rewards(voters.lazy(), vote))
        return voters, scores.with_columns(raw=pl.lit(None, pl.String))

    return replace(_by_ranges(run, answered, found_in, stage=stage, iteration=iteration), notes=tuple(notes))


def _by_tournament(
    run: Run,
    scorer: Scorer,
    block: Tournament,
    answered: pl.LazyFrame,
    rows: Parted,
    *,
    stage: str,
    iteration: int,
) -> Scored:
    """Let each judge compare the responses in a tournament of its own, and compute strengths from all verdicts."""
    verdicts = [empty(COMPARISONS).lazy()]
    for number, judge in enumerate(scorer.judges):
        results = run.ask(
            judge,
            "judge",
            rows,
            iteration=iteration,
            stage=f"judge ({stage})",
            settings=block,
            key=f"reward.judges.{number}",
            folder=f"reward-{stage}-{number}",
            shown="judge",
            framed=True,
            guide=None if block.template else {"response_format": VERDICT_FORMAT},
            function=compare_rows,
        )
        remaining = (
            (stage, row["prompt_id"], judge.fingerprint, *verdict.values(), iteration)
            for row, compared in results
            for verdict in compared
        )
        spool = Spool(run.store.work_folder(iteration), f"{stage}-comparisons-{number}", COMPARISONS)
        found = _spooled(remaining, spool)
        refuse_without_verdict(found, judge.name)
        verdicts.append(found)
    comparisons = pl.concat(verdicts)

    def found_in(part: IdRange) -> tuple[pl.DataFrame, pl.DataFrame]:
        given, compared = in_memory(part.of(answered)), in_memory(part.of(comparisons)).sort(ORDER["comparisons"])
        return given, tournament_rewards(given, compared).with_columns(raw=pl.lit(None, pl.String))

    scored = _by_ranges(run, answered, found_in, stage=stage, iteration=iteration)
    return replace(scored, comparisons=comparisons, notes=tuple(run.note(note) for note in told(comparisons, stage)))


def _spooled(rows: Iterator[tuple[Any, ...]], spool: Spool) -> pl.LazyFrame:
    """The table of these rows, of which JOB_ROWS are Python objects at once."""
    while part := [*islice(rows, JOB_ROWS)]:
        spool.add(frame_of(part, spool.schema))
    return spool.table()


def _refuse_unreadable(scores: pl.LazyFrame) -> None:
    """Raise DataError if a judge rated nothing at all (SCORES) because its replies held no rating."""
    unreadable = (pl.col("raw") != "") & pl.col("reason").str.starts_with(UNPARSABLE)
    replies = in_memory(scores.filter(unreadable).select("raw")).to_series()
    if replies.is_empty() or in_memory(scores.select(pl.col("reward").count())).item():
        return
    raise DataError(
        f"the judge rated none of {height_of(scores)} responses: {len(replies)} of its replies hold no rating that can "
        f"be read, such as `{end_of(replies[0])}`; it must end with a line `Rating: <number>` on the scale from "
        "`lowest` to `highest`: "
        "ask for that in `reward.template`, raise `reward.judge.max_tokens` where the reply was cut, or take another "
        "`reward.judge`"
    )


def scored_by(
    run: Run,
    scorer: Scorer,
    rows: ForJob,
    folder: Path | None,
    *,
    stage: str,
    name: str,
    iteration: int,
    key: str = "reward",
) -> pl.LazyFrame:
    """SCORES of one reward, whose block is at `key` in the settings: one row per response.

    They lie in `folder` if they are many, or in memory if it is None.
    """
    block = scorer.block
    if isinstance(block, LocalReward):
        # The reward may need the memory that a server holds.
        run.servers.stop()
    if isinstance(block, Judge):
        assert scorer.judge is not None
        results = run.ask(
            scorer.judge,
            "judge",
            rows,
            iteration=iteration,
            stage=f"judge ({stage})",
            settings=block,
            key=f"{key}.judge",
            folder=name,
            shown="judge",
            framed=True,
        )
        verdicts = (
            (row, [(score["reward"], score["reason"], score["raw"]) for score in scores]) for row, scores in results
        )
    else:
        results = run.score(scorer, rows, iteration=iteration, folder=name)
        verdicts = ((row, [(reward, reason, None) for reward, reason in scores]) for row, scores in results)
    found = Spool(folder, f"{name}-scores", SCORES)
    remaining = (
        (row["prompt_id"], index, scorer.fingerprint, *verdict)
        for row, scores in verdicts
        for index, verdict in zip(row["response_idx"], scores, strict=True)
    )
    scores = _spooled(remaining, found)
    if isinstance(block, Judge) and stage != "rewrite":
        _refuse_unreadable(scores)
    return scores
