"""Evaluations written by hand, of a solver whose answers have given rewards."""

from __future__ import annotations

import polars as pl

from eva_data import __version__
from eva_data.dataset.evaluations import Compared, keep
from eva_data.dataset.store import Store
from eva_data.evaluation.figures import figures_of, plain
from eva_data.evaluation.sentences import sentence_of
from eva_data.tables.schemas import EVALUATIONS, MESSAGES


def evaluated(store: Store, theta: int, *rewards: float, text: str = "ab") -> None:
    """Store an evaluation of theta_t in which its answers have these rewards."""
    key = f"{theta:016x}"
    rows = {
        "evaluation": key,
        "set": "puzzles",
        "rule": "verifier",
        "turn": 1,
        "sample": 0,
        "judge": "verifier:score@1",
        "solver": f"iter_{theta}@1",
        "response": text,
        "iteration": theta,
    }
    frame = pl.DataFrame({"prompt_id": [f"{place:032x}" for place in range(len(rewards))], "score": list(rewards)})
    prompt = [[{"role": "user", "content": f"Say {place}."}] for place in range(len(rewards))]
    frame = frame.with_columns(
        prompt=pl.Series(prompt, dtype=MESSAGES), **{name: pl.lit(value) for name, value in rows.items()}
    )
    missing = [
        pl.lit(None, dtype=dtype).alias(name) for name, dtype in EVALUATIONS.items() if name not in frame.columns
    ]
    table = frame.with_columns(missing).select(EVALUATIONS.names()).cast(dict(EVALUATIONS))  # type: ignore[arg-type]
    entry = Compared(
        key=key,
        set="puzzles",
        rule="verifier",
        source="a function",
        solver=f"iter_{theta}@1",
        solver_name=f"theta_{theta}",
        theta=theta,
        judges=("verifier:score@1",),
        prompts=len(rewards),
        prompts_hash="0" * 64,
        right=1.0,
    )
    figures = figures_of(entry, table)
    keep(store, __version__, [entry.model_copy(update={"figures": plain(figures, sentence_of(figures))})], table)
