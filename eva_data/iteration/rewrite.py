"""Rewrite: the solver improves its best answer at the same length, and the better answer is chosen (paper: H.2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from eva_data.calls import GAVE_UP
from eva_data.dataset.ordered import in_memory
from eva_data.iteration.run import Run
from eva_data.iteration.score import Scales, score
from eva_data.jobs.job import Responses
from eva_data.method.responses import completions_frame
from eva_data.method.rewrite import ask, last_text, read_replies, with_rewritten
from eva_data.models.player import Player
from eva_data.tables.flow import Flow
from eva_data.tables.schemas import PREFERENCES, REJECTS, RESPONSES, conform, empty


@dataclass(frozen=True)
class Rewritten:
    """The pairs after their chosen responses were rewritten."""

    preferences: pl.LazyFrame
    """PREFERENCES: one row per given pair."""
    responses: pl.DataFrame
    """RESPONSES of stage rewrite, with rewards."""
    rejects: pl.DataFrame
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
    rewritten if `pair.rewrite` is off, or if a table answered (`solver` is None). Otherwise all of both are read into
    memory.
    """
    config, notes = run.config, []
    if config.pair.rewrite and solver is None:
        note = run.note(f"the responses of iteration {iteration} come from a table, so nobody rewrites the chosen ones")
        notes.append(note)
    if solver is None or not config.pair.rewrite:
        return Rewritten(pairs, empty(RESPONSES), empty(REJECTS), [], notes)
    given = pairs.collect(engine="streaming")
    bound = config.pair.rewrite_length
    chosen = given.select("prompt_id", "chosen_idx", "prompt", text=last_text(pl.col("chosen"))).sort("prompt_id")
    questions = [ask(prompt, text, bound) for prompt, text in chosen.select("prompt", "text").iter_rows()]
    rows = chosen.select("prompt_id", prompt=pl.Series(questions, dtype=PREFERENCES["prompt"]))
    results = run.ask(
        solver,
        "respond",
        rows,
        iteration=iteration,
        stage="rewrite",
        settings=Responses(responses=1),
        key="solver",
        framed=True,
    )
    found, failed = read_replies(completions_frame(results), chosen, bound)
    given_up = failed.filter(pl.col("reason").str.starts_with(GAVE_UP)).height
    if given_up:
        of = failed.height + found.height
        notes.append(run.note(f"{given_up} of {of} rewritten responses were given up after all attempts"))
    common = {"stage": "rewrite", "iteration": iteration}
    written = found.with_columns(**{k: pl.lit(v) for k, v in common.items()}, solver=pl.lit(solver.fingerprint))
    answered = conform(written.with_columns(reused=pl.lit(False)), RESPONSES)
    x_t = in_memory(prompts)
    rated = score(run, answered.lazy(), x_t, stage="rewrite", iteration=iteration, scales=scales)
    scored, unusable = in_memory(rated.responses), in_memory(rated.rejects)
    preferences = with_rewritten(given, scored, keep=config.pair.rewrite_keep)
    taken = int(preferences["rewritten"].sum())
    usable = scored["reward"].count()
    return Rewritten(
        preferences.lazy(),
        scored,
        pl.concat([conform(failed.with_columns(**{k: pl.lit(v) for k, v in common.items()}), REJECTS), unusable]),
        [
            Flow("rewrite", "pairs", given.height, scored.height, failed.height),
            Flow("reward (rewrite)", "responses", scored.height, usable, unusable.height),
            Flow("pair (rewrite)", "responses", usable, taken, 0, usable - taken),
        ],
        notes,
    )
