"""Has a model rewrite prompts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from eva_data.api.frames import FrameT, opened
from eva_data.api.mixing import read_prompts
from eva_data.api.reporting import Logged
from eva_data.api.scored import SEED, as_text
from eva_data.config.reading import parse_config
from eva_data.evolve import eliminate
from eva_data.iteration.create import evolve_prompts
from eva_data.iteration.run import Run
from eva_data.models.player import player_of
from eva_data.tables.schemas import RESPONSES, empty


def evolve(
    prompts: FrameT,
    *,
    creator: str | Mapping[str, Any],
    evolutions: int = 4,
    method: str = "eva",
    settings: Mapping[str, Any] | None = None,
    prompt: str = "prompt",
    folder: str | Path = "data/evolved",
    budget: float | None = None,
    seed: int = SEED,
) -> FrameT:
    """Every prompt rewritten `evolutions` times by a model (paper: 3.3.2, appendix F).

    `prompts` is a table with a column of prompts, text or messages; each distinct prompt is rewritten once. `creator`
    is a block as in `eva.yaml`, such as `{"backend": "api", "model": "gpt-5", "api_key_env": "OPENAI_API_KEY"}`, or the
    name of a model for this process: a Hub id, a folder, or `sandbox`. `method` and `settings` are `evolve.method` and
    further keys of that block. `folder` keeps the ledger, so that a repeated call asks, and pays, for nothing twice;
    `budget` is the most dollars that the ledger may hold in all.

    The result has one row per attempt: `prompt` (null if the reply holds none), `root` (the prompt that was given),
    `step` (from 1), `reason` (null if the attempt is a good new prompt, else why it is eliminated), `raw` (the reply)
    and `strategy`. Repetitions of given or new prompts are eliminated, near-duplicates too.

    Raise ConfigError if a setting is wrong, ModelError or EndpointError if the model cannot be used, and BudgetError
    before a call that could exceed the budget.
    """
    table, text = read_prompts(prompts, prompt, "prompts")
    block = {"model": creator} if isinstance(creator, str) else dict(creator)
    config = parse_config(
        {
            "name": "evolved",
            "folder": str(folder),
            "seed": seed,
            # Nobody answers here; a table is the solver that asks for nothing else.
            "solver": {"backend": "table", "path": "prompts"},
            "creator": block,
            "sample": {"fraction": 1.0},
            "evolve": {"method": method, "evolutions": evolutions} | dict(settings or {}),
        },
        "the arguments of `evolve`",
    )
    run = Run(config, Logged(), budget=budget)
    assert config.creator != "shared"
    player = player_of(config.creator)
    with run.store.locked(), run.servers:
        attempts = evolve_prompts(run, 1, player, table, empty(RESPONSES), "evolve")
    shutil.rmtree(run.store.state / "jobs", ignore_errors=True)
    judged = eliminate(
        attempts,
        known=table.lazy().select("prompt_id", "prompt", "root_id", "depth"),
        near_duplicate=config.evolve.near_duplicate,
    )
    roots = table.select(root_id="prompt_id", root="prompt")
    result = (
        judged.join(roots, on="root_id", how="left", maintain_order="left")
        .sort("chain_id", "step", "candidate")
        .select("prompt", "root", "step", "reason", "raw", strategy="mutation")
    )
    if text:
        result = result.with_columns(as_text(pl.col(name)).alias(name) for name in ("prompt", "root"))
    back: FrameT = opened(prompts)[1](result)
    return back
