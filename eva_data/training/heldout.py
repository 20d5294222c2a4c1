"""Measures the exact accuracy of a solver on the sandbox's held-out prompts, by depth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from eva_data.calls import Chain, Request
from eva_data.iteration.run import Run
from eva_data.jobs.job import Job
from eva_data.models.player import Player

ACCURACY = pl.Schema({"depth": pl.Int32, "prompts": pl.Int32, "right": pl.Int32})
"""One row per depth: the number of held-out prompts, and the number of right greedy answers."""


def heldout_accuracy(run: Run, solver: Player, name: str) -> pl.DataFrame:
    """ACCURACY of a solver that answers greedily in a job of its own. Finished answers come from the ledger."""
    from eva_data.sandbox.verifier import score
    from eva_data.sandbox.world import depth, heldout_prompts, parse

    prompts = heldout_prompts(run.config.train.heldout)
    rows = pl.DataFrame({"number": range(len(prompts)), "text": prompts})
    results = run.ask(
        solver,
        "evaluate",
        rows,
        iteration=0,
        stage="held-out test",
        settings=None,
        key="solver",
        folder=f"evaluate-{name}",
        shown=f"held-out test of {name}",
        function=answer_rows,
        temperature=0.0,
    )
    judged = []
    for row, response in results:
        task = parse(row["text"])
        assert task is not None
        judged.append((depth(task), response is not None and score(row["text"], response) == 1.0))
    return (
        pl.DataFrame(judged, schema={"depth": pl.Int32, "right": pl.Boolean}, orient="row")
        .group_by("depth")
        .agg(prompts=pl.len().cast(pl.Int32), right=pl.col("right").sum().cast(pl.Int32))
        .sort("depth")
    )


def answer_rows(job: Job, rows: Sequence[dict[str, Any]]) -> list[str | None]:
    """One response per row {text}. This runs in a child process."""
    llm = job.llm()
    llm.load()
    answers = llm.drive([_ask(row["text"]) for row in rows], len(rows))
    llm.unload()
    return answers


def _ask(text: str) -> Chain[str | None]:
    (completion,) = yield [Request(({"role": "user", "content": text},))]
    return completion.text
