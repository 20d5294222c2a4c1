"""Rewrite: the solver improves its best answer at the same length, and the better one is chosen (paper: H.2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from eva_data.calls import GAVE_UP
from eva_data.iteration.players import work_with
from eva_data.iteration.run import Run
from eva_data.iteration.score import score
from eva_data.method.outcome import Judged
from eva_data.method.responses import completions_frame
from eva_data.method.rewrite import _text, ask, read_replies, with_rewritten
from eva_data.models.player import Player, llm_fields
from eva_data.tables.flow import Flow
from eva_data.tables.schemas import PREFERENCES, REJECTS, RESPONSES, conform, empty


@dataclass(frozen=True)
class Rewritten:
    """What came of the pairs' chosen responses."""

    preferences: pl.DataFrame
    """PREFERENCES: all pairs that went in."""
    responses: pl.DataFrame
    """RESPONSES of stage rewrite, with rewards."""
    rejects: pl.DataFrame
    """REJECTS: what is no reply of that length, in stage rewrite, and what got no reward."""
    flows: list[Flow]


def rewrite_chosen(
    run: Run, solver: Player | None, judged: Judged, prompts: pl.DataFrame, *, iteration: int
) -> Rewritten:
    """The pairs with the chosen response rewritten where its reward is not lower; the others as they are.

    `prompts` is X_t. One more response for every pair, by the solver that answered; none where `pair.rewrite` is off,
    and none where a table answered, without a `solver`.
    """
    config, pairs = run.config, judged.preferences
    if config.pair.rewrite and solver is None:
        run.note(f"the responses of iteration {iteration} come from a table, so nobody rewrites the chosen ones")
    if solver is None or not config.pair.rewrite:
        return Rewritten(pairs, empty(RESPONSES), empty(REJECTS), [])
    bound = config.pair.rewrite_length
    chosen = pairs.select("prompt_id", "chosen_idx", "prompt", text=_text(pl.col("chosen"))).sort("prompt_id")
    questions = [ask(prompt, text, bound) for prompt, text in chosen.select("prompt", "text").iter_rows()]
    rows = chosen.select("prompt_id", prompt=pl.Series(questions, dtype=PREFERENCES["prompt"]))
    job = run.job(
        "respond",
        iteration,
        "rewrite",
        settings={"responses": 1},
        model=llm_fields(solver, solver.block, seed=config.seed, stage="rewrite", iteration=iteration, framed=True),
    )
    results: Any = work_with(run, solver, job, rows, iteration, "rewrite", key="solver")
    found, failed = read_replies(completions_frame(results), chosen, bound)
    given_up = failed.filter(pl.col("reason").str.starts_with(GAVE_UP)).height
    if given_up:
        run.note(f"{given_up} of {failed.height + found.height} rewritten responses were given up after all attempts")
    common = {"stage": "rewrite", "iteration": iteration}
    written = found.with_columns(**{k: pl.lit(v) for k, v in common.items()}, solver=pl.lit(solver.fingerprint))
    answered = conform(written.with_columns(reused=pl.lit(False)), RESPONSES)
    scored, unusable = score(run, answered, prompts, stage="rewrite", iteration=iteration)
    preferences = with_rewritten(pairs, scored)
    taken = int(preferences["rewritten"].sum())
    usable = scored["reward"].count()
    return Rewritten(
        preferences,
        scored,
        pl.concat([conform(failed.with_columns(**{k: pl.lit(v) for k, v in common.items()}), REJECTS), unusable]),
        [
            Flow("rewrite", "pairs", pairs.height, scored.height, failed.height),
            Flow("reward (rewrite)", "responses", scored.height, usable, unusable.height),
            Flow("pair (rewrite)", "responses", usable, taken, 0, usable - taken),
        ],
    )
