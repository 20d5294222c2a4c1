"""Writes the dataset of an online run from its record, as an iteration that loads, verifies and publishes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from eva_data.config import Config, TransformersModel, VllmModel
from eva_data.dataset.compose import Built, compose
from eva_data.dataset.inputs import hash_of_prompts
from eva_data.dataset.manifest import Evolving, Models
from eva_data.dataset.seeds import seed_block
from eva_data.iteration.build import bills_of, licences_of
from eva_data.iteration.heldout import split_seeds
from eva_data.iteration.players import creator_of
from eva_data.iteration.run import Run
from eva_data.method.outcome import bar_online, outcome_of
from eva_data.models.player import Player
from eva_data.rewards.scorers import reward_model
from eva_data.tables.flow import Flow
from eva_data.tables.reasons import kind
from eva_data.training.online_tables import (
    ITERATION,
    RecordedStep,
    evolutions_table,
    prompts_table,
    read_record,
    responses_table,
    too_long_table,
    unscored_table,
)


def write_dataset(run: Run, asked: dict[str, Any], start: Player, inputs: Mapping[str, str]) -> None:
    """Write the tables of the record in the job folder, and a manifest that holds `asked`.

    `inputs` are the hashes of what the run was begun with.
    """
    job = run.store.job_folder(ITERATION, "online")
    training = json.loads((job / "output" / "training.json").read_text(encoding="utf-8"))
    lines = read_record(job / "record.jsonl")
    config = _as_sampled(run.config, training["sampling"])
    assert config.seeds is not None
    split = split_seeds(run.config, run.store, inputs)
    seeds, rejected = split.training, split.rejects
    block = seed_block(seeds, 1, config.seeds.per_iteration)
    too_long = too_long_table(block, json.loads((job / "too_long.json").read_text(encoding="utf-8")))
    solver = f"{start.fingerprint}+{training['algorithm']}"
    tables, paired = _tables(config, lines, solver, reward_model(run.scorers))
    creator = creator_of(run, start)
    creator_name = policy_name(start) if config.creator == "shared" else creator.fingerprint
    eliminated = tables["evolutions"].filter(pl.col("status") == "eliminated").select(kind(pl.col("reason")))
    flows = [_seeds_flow(seeds, rejected, too_long, tables["prompts"]), *_flows(tables), paired]
    tables["rejects"] = pl.concat([rejected, too_long, tables["rejects"]])
    online = asked | {
        "algorithm": training["algorithm"],
        "training": training["settings"],
        "prompts_trained": sum(len(line["trained"]) for line in lines),
        "prompts_replaced": sum(len(line["prompts"]) - len(line["trained"]) for line in lines),
        "completions": lines[-1]["generated"],
        "steps_by_phase": dict(Counter(line["phase"] for line in lines)),
    }
    built = Built(
        iteration=ITERATION,
        tables=tables,
        flows=flows,
        models=Models(
            solver=solver,
            creator=None if asked["static"] else creator_name,
            reward=reward_model(run.scorers),
        ),
        stated=licences_of(run, start, creator),
        inputs={**inputs, "prompts": hash_of_prompts(block)},
        notes=(),
        evolving=Evolving(eliminated=dict(eliminated["reason"].value_counts(sort=True).iter_rows())),
        bills=bills_of(run, ITERATION),
        online=online,
    )
    run.store.write_iteration(compose(config, built), tables)


def _tables(
    config: Config, lines: list[RecordedStep], solver: str, reward: str
) -> tuple[dict[str, pl.DataFrame], Flow]:
    """All tables, without the rejects of seeds, and the flow of the pairs."""
    prompts = prompts_table(lines)
    responses = responses_table(lines, solver=solver, reward_model=reward)
    assert config.model_solver is not None
    paired = outcome_of(
        config,
        ITERATION,
        prompts,
        responses,
        n=config.model_solver.responses,
        on_policy=True,
        bar=bar_online(config, prompts, responses),
        band=config.sample.band,
    )
    tables = {
        "preferences": paired.preferences,
        "prompts": prompts,
        "evolutions": evolutions_table(lines, prompts),
        "informativeness": paired.informativeness,
        "responses": responses,
        "rejects": pl.concat([unscored_table(lines), paired.rejects]),
    }
    return tables, paired.flow


def _seeds_flow(seeds: pl.DataFrame, rejected: pl.DataFrame, too_long: pl.DataFrame, trained: pl.DataFrame) -> Flow:
    used, failed = trained.filter(pl.col("origin") == "seed").height, rejected.height + too_long.height
    return Flow("seeds", "prompts", seeds.height + rejected.height, used, failed, seeds.height - used - too_long.height)


def _flows(tables: Mapping[str, pl.DataFrame]) -> list[Flow]:
    status, rewards = tables["evolutions"]["status"], tables["responses"]["reward"]
    by_status = [int((status == name).sum()) for name in ("mixed", "eliminated", "unused")]
    return [
        Flow("evolve", "evolutions", status.len(), *by_status),
        Flow("reward", "responses", rewards.len(), rewards.count(), rewards.null_count()),
    ]


def policy_name(start: Player) -> str:
    """The name, as a creator, of the model in training."""
    return f"{start.fingerprint}+online"


def _as_sampled(config: Config, sampling: dict[str, Any]) -> Config:
    """The settings with the sampling of the recipe for the solver."""
    solver = config.model_solver
    assert isinstance(solver, TransformersModel | VllmModel)
    return config.model_copy(update={"solver": solver.model_copy(update=sampling)})
