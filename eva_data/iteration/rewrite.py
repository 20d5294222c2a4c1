"""Rewrite: the solver improves its best answer at the same length, and the better answer is chosen (paper: H.2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from eva_data.calls import GAVE_UP
from eva_data.dataset.ordered import height_of, in_memory
from eva_data.dataset.spool import Spool
from eva_data.iteration.answer import PROMPTS_AT_ONCE
from eva_data.iteration.run import Run
from eva_data.iteration.score import Scales, score
from eva_data.jobs.job import Responses
from eva_data.jobs.results import Parted
from eva_data.method.responses import completion_parts
from eva_data.method.rewrite import ask, last_text, read_replies, with_rewritten
from eva_data.models.player import Player
from eva_data.tables.flow import Flow
from eva_data.tables.ranges import ranges_for
from eva_data.tables.schemas import PREFERENCES, REJECTS, RESPONSES, conform, empty


@dataclass(frozen=True)
class Rewritten:
    """The pairs after their chosen responses were rewritten."""

    preferences: pl.LazyFrame
    """PREFERENCES: one row per given pair."""
    responses: pl.LazyFrame
    """RESPONSES of stage rewrite, with rewards."""
    rejects: pl.LazyFrame
    """REJECTS: replies without a new response of that length (stage rewrite), and responses without a reward."""
    flows: list[Flow]
    notes: list[str]


def rewrite_chosen(
    run: Run,
    solver: Player | None,
    pairs: pl.LazyFrame,
    prompts: pl.LazyFrame,
    *,
    iteration: int,
    scales: Scales | None = None,
) -> Rewritten:
    """Rewrite the chosen response of every pair. The rewritten response is chosen as `pair.rewrite_keep` says.

    `pairs` are PREFERENCES and `prompts` is X_t. The solver gives one more response for every pair. Nothing is
    rewritten if `pair.rewrite` is off, or if a table answered (`solver` is None). The new tables lie in the work folder
    if they are large.
    """
    notes = []
    if run.config.pair.rewrite and solver is None:
        note = run.note(f"the responses of iteration {iteration} come from a table, so nobody rewrites the chosen ones")
        notes.append(note)
    if solver is None or not run.config.pair.rewrite:
        return Rewritten(pairs, empty(RESPONSES).lazy(), empty(REJECTS).lazy(), [], notes)
    config, height = run.config.pair, height_of(pairs)
    results = run.ask(
        solver,
        "respond",
        _to_rewrite(pairs, height, config.rewrite_length),
        iteration=iteration,
        stage="rewrite",
        settings=Responses(responses=1),
        key="solver",
        framed=True,
    )
    folder = run.store.work_folder(iteration)
    answered, failed = Spool(folder, "rewrite-answers", RESPONSES), Spool(folder, "rewrite-failures", REJECTS)
    common = {"stage": pl.lit("rewrite"), "iteration": pl.lit(iteration)}
    given_up = 0
    for part in completion_parts(results):
        chosen = in_memory(_chosen(_of(pairs, part["prompt_id"])))
        found, without = read_replies(part, chosen, config.rewrite_length)
        answered.add(
            conform(
                found.with_columns(**common, solver=pl.lit(solver.fingerprint), reused=pl.lit(False)),
                RESPONSES,
            )
        )
        failed.add(conform(without.with_columns(**common), REJECTS))
        given_up += without.filter(pl.col("reason").str.starts_with(GAVE_UP)).height
    if given_up:
        of = failed.height + answered.height
        notes.append(run.note(f"{given_up} of {of} rewritten responses were given up after all attempts"))
    rated = score(run, answered.table(), prompts, stage="rewrite", iteration=iteration, scales=scales)
    preferences = Spool(folder, "rewritten", PREFERENCES)
    for ids in ranges_for(height, PROMPTS_AT_ONCE):
        scored = in_memory(ids.of(rated.responses))
        preferences.add(with_rewritten(in_memory(ids.of(pairs)), scored, keep=config.rewrite_keep))
    taken = int(in_memory(preferences.table().select(pl.col("rewritten").sum())).item())
    usable = int(in_memory(rated.responses.select(pl.col("reward").count())).item())
    return Rewritten(
        preferences.table(),
        rated.responses,
        pl.concat([failed.table(), rated.rejects]),
        [
            Flow("rewrite", "pairs", height, answered.height, failed.height),
            Flow("reward (rewrite)", "responses", answered.height, usable, height_of(rated.rejects)),
            Flow("pair (rewrite)", "responses", usable, taken, 0, usable - taken),
        ],
        notes,
    )


def _to_rewrite(pairs: pl.LazyFrame, height: int, bound: float) -> Parted:
    """`prompt_id` and the request for a rewriting as `prompt`, in the order of the ids. A range of ids is in memory."""

    def parts() -> Iterator[pl.DataFrame]:
        for ids in ranges_for(height, PROMPTS_AT_ONCE):
            chosen = in_memory(_chosen(ids.of(pairs))).sort("prompt_id")
            questions = [ask(prompt, text, bound) for prompt, text in chosen.select("prompt", "text").iter_rows()]
            yield chosen.select("prompt_id", prompt=pl.Series(questions, dtype=PREFERENCES["prompt"]))

    return Parted(height, parts)


def _chosen(pairs: pl.LazyFrame) -> pl.LazyFrame:
    """What a rewriting begins with: one row per pair."""
    return pairs.select("prompt_id", "chosen_idx", "prompt", text=last_text(pl.col("chosen")))


def _of(pairs: pl.LazyFrame, ids: pl.Series) -> pl.LazyFrame:
    """The pairs of prompts whose ids follow one another."""
    return pairs.filter(pl.col("prompt_id").is_between(pl.lit(ids.min()), pl.lit(ids.max())))
