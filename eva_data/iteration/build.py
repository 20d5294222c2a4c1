"""Builds an iteration: the stages of the method, in order, from the last iteration's tables to the next one's."""

from __future__ import annotations

import hashlib
import shutil
from typing import Any

import polars as pl

from eva_data.config import TableModel
from eva_data.dataset.manifest import compose, differences
from eva_data.dataset.scored_table import read_table
from eva_data.dataset.seeds import read_seeds, seed_block
from eva_data.dataset.store import Manifest
from eva_data.errors import StaleError
from eva_data.iteration.answer import answer, carry_over
from eva_data.iteration.create import grow
from eva_data.iteration.inputs import refuse_unreadable
from eva_data.iteration.players import creator_of, solver_of
from eva_data.iteration.rewrite import rewrite_chosen
from eva_data.iteration.run import Run
from eva_data.ledger import Ledger
from eva_data.method.outcome import judge
from eva_data.models.licences import stated_licences
from eva_data.models.player import Player
from eva_data.report.card import write_card
from eva_data.rewards.scorers import reward_model
from eva_data.tables.flow import Flow
from eva_data.tables.schemas import EVOLUTIONS, empty


def build_iteration(run: Run, iteration: int) -> Manifest:
    """The manifest of iteration t, built unless it is there already.

    Raises StaleError where it, or an earlier one, is there but was made with other settings, or where t - 1 is
    missing. What was finished before an error or a kill is in the ledger and is not done again.
    """
    for earlier in range(1, iteration + 1):
        refuse_stale(run, earlier)
    if iteration in run.store.iterations():
        write_card(run.store, run.config.publish.licence)
        return run.store.manifest(iteration)
    refuse_unreadable(run.config, iteration, download=True)
    run.notes.clear()
    manifest = _build_first(run) if iteration == 1 else _build_next(run, iteration)
    write_card(run.store, run.config.publish.licence)
    shutil.rmtree(run.store.state / "jobs" / f"iter_{iteration}", ignore_errors=True)
    return manifest


def refuse_stale(run: Run, iteration: int) -> None:
    """Raise StaleError where a finished iteration was made with settings that are not today's."""
    if iteration not in run.store.iterations():
        return
    changed = differences(run.config, run.store.manifest(iteration))
    if changed:
        raise StaleError(
            f"iteration {iteration} in {run.store.folder} was made with other settings: {'; '.join(changed)}; set "
            "them back, or build into a folder of its own with `--set folder=...` (`--set ledger="
            f"{run.ledger}` keeps what is paid)"
        )


def _build_first(run: Run) -> Manifest:
    config = run.config
    solver: Player | None
    if isinstance(config.solver, TableModel):
        prompts, responses, rejects, flow = read_table(config.solver, config.seed, run.note)
        solver, flows = None, [flow]
        models: dict[str, str | None] = {
            "solver": f"table:{prompts['source'][0]}",
            "creator": None,
            "reward": responses["reward_model"][0] if responses.height else f"table:{config.solver.reward}",
        }
        licences: dict[str, str] = {}
        per_prompt, on_policy = config.solver.responses, False
    else:
        solver = solver_of(run, 1)
        seeds, rejects = read_seeds(run.config.seeds, config.seed, run.note)  # type: ignore[arg-type]
        prompts = seed_block(seeds, 1, config.seeds.per_iteration)  # type: ignore[union-attr]
        flows = [
            Flow(
                "seeds",
                "prompts",
                seeds.height + rejects.height,
                prompts.height,
                rejects.height,
                seeds.height - prompts.height,
            )
        ]
        answered = answer(run, solver, prompts, stage="respond", iteration=1)
        responses, rejects = answered.responses, pl.concat([rejects, answered.rejects])
        flows += answered.flows
        models = {"solver": solver.fingerprint, "creator": None, "reward": reward_model(run.scorers)}
        licences = licences_of(run, solver)
        per_prompt, on_policy = solver.block.responses, True
    judged = judge(config, 1, prompts, responses, n=per_prompt, on_policy=on_policy)
    rewritten = rewrite_chosen(run, solver, judged, prompts, iteration=1)
    flows += [judged.flow, *rewritten.flows]
    tables = {
        "preferences": rewritten.preferences,
        "prompts": prompts,
        "evolutions": empty(EVOLUTIONS),
        "informativeness": judged.informativeness,
        "responses": pl.concat([responses, rewritten.responses]),
        "rejects": pl.concat([rejects, judged.rejects, rewritten.rejects]),
    }
    inputs = {"prompts": content_hash(prompts)}
    return run.store.write_iteration(
        1,
        tables,
        compose(
            config,
            1,
            tables=tables,
            flows=flows,
            models=models,
            licences=licences,
            previous=None,
            inputs=inputs,
            notes=run.notes,
            evolving=None,
            reward_scales=run.reward_scales,
            bills=bills_of(run, 1),
        ),
    )


def _build_next(run: Run, iteration: int) -> Manifest:
    config, previous = run.config, run.store.manifest(iteration - 1)
    solver = solver_of(run, iteration)
    creator = creator_of(run, solver)
    if not config.trains and run.solver_override is None:
        run.note(f"`{solver.name}` is not trained here: iteration {iteration} asks the same model as before")
    run.reward_scales.update(earlier_scales(run, iteration))
    grown = grow(run, iteration, solver, creator)
    carried = grown.prompts.filter(pl.col("mix_role") == "carried")
    new = grown.prompts.filter(pl.col("mix_role") != "carried")
    if config.estimate.source == "previous":
        new, carried = grown.prompts, carried.clear()
    answered = answer(run, solver, new, stage="respond", iteration=iteration)
    responses = pl.concat([answered.responses, carry_over(grown.responses, carried, iteration=iteration)])
    flows = [*grown.flows, *answered.flows]
    rejects = pl.concat([grown.rejects, answered.rejects])
    judged = judge(config, iteration, grown.prompts, responses, n=solver.block.responses, on_policy=True)
    rewritten = rewrite_chosen(run, solver, judged, grown.prompts, iteration=iteration)
    flows += [judged.flow, *rewritten.flows]
    tables = {
        "preferences": rewritten.preferences,
        "prompts": grown.prompts,
        "evolutions": grown.evolutions,
        "informativeness": pl.concat([grown.informativeness, judged.informativeness]),
        "responses": pl.concat([grown.responses, responses, rewritten.responses]),
        "rejects": pl.concat([rejects, judged.rejects, rewritten.rejects]),
    }
    models = {
        "solver": solver.fingerprint,
        "creator": creator.fingerprint,
        "reward": reward_model(run.scorers),
    }
    return run.store.write_iteration(
        iteration,
        tables,
        compose(
            config,
            iteration,
            tables=tables,
            flows=flows,
            models=models,
            licences=licences_of(run, solver, creator),
            previous=previous,
            inputs={},
            notes=run.notes,
            evolving=grown.record,
            reward_scales=run.reward_scales,
            bills=bills_of(run, iteration),
        ),
    )


def earlier_scales(run: Run, iteration: int) -> dict[str, list[float]]:
    """The constants by which several rewards are standardised, frozen by the first iteration that had them."""
    for earlier in range(1, iteration):
        frozen = run.store.manifest(earlier).get("reward_scales")
        if frozen:
            scales: dict[str, list[float]] = frozen
            return scales
    return {}


def licences_of(run: Run, *players: Player) -> dict[str, str]:
    """What the cards of the models on this machine say of their licences."""
    folders = {player.fingerprint: player.path for player in players}
    folders |= {scorer.fingerprint: scorer.judge.path if scorer.judge else scorer.path for scorer in run.scorers}
    return stated_licences(folders)


def bills_of(run: Run, iteration: int) -> list[dict[str, Any]]:
    """What the ledger says that an iteration took, but for the time, which is not the same twice."""
    if not run.ledger.exists():
        return []
    with Ledger(run.ledger) as ledger:
        return [
            {key: value for key, value in bill.items() if key not in ("iteration", "seconds")}
            for bill in ledger.bills()
            if bill["iteration"] == iteration
        ]


def content_hash(prompts: pl.DataFrame) -> str:
    """Hash of which prompts an iteration started from, whatever file they came in."""
    return hashlib.sha256("\n".join(prompts["prompt_id"].sort()).encode()).hexdigest()
