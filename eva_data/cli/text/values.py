"""The results of commands as values, for `--json`."""

from __future__ import annotations

from typing import Any

import polars as pl

from eva_data.dataset.evaluations import Compared, read_record, read_rows
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.store import Store
from eva_data.errors import EvaError
from eva_data.evaluation.evaluate import settings_of
from eva_data.evaluation.figures import all_figures
from eva_data.iteration.run import Run
from eva_data.iteration.stale import changes
from eva_data.ledger import Ledger
from eva_data.report.lineage import lineage, most_informative, relatives
from eva_data.report.measures.consensus import precision_of


def built_values(run: Run, manifest: Manifest) -> dict[str, Any]:
    """The result of a build."""
    return {
        "iteration": manifest.iteration,
        "folder": run.config.folder,
        **{name: getattr(manifest, name) for name in ("counts", "flow", "evolving", "informativeness", "spent")},
        "notes": manifest.notes,
        "evaluations": evaluation_values(run),
    }


def evaluation_values(run: Run, compared: list[Compared] | None = None) -> list[dict[str, Any]]:
    """The figures of these comparisons, or of all kept comparisons."""
    record = read_record(run.store)
    if record is None:
        return []
    wanted = {each.key for each in (record.evaluations if compared is None else compared)}
    own_rules = {block.rule for block in settings_of(run.config).sets} | {each.rule for each in compared or ()}
    return [
        {
            "set": each.compared.set,
            "rule": each.compared.rule,
            "solver": each.compared.solver_name,
            "against": each.compared.against_name,
            "unit": each.unit,
            "prompts": each.compared.prompts,
            "judged": each.judged,
            "estimate": each.estimate,
            "categories": each.categories,
            "length_controlled": each.length_controlled,
            "reasons": each.reasons,
            "not_comparable": each.not_comparable,
            "warnings": each.warnings,
        }
        for each in all_figures(record, read_rows(run.store, record), own_rules)
        if each.compared.key in wanted
    ]


def status_values(run: Run) -> dict[str, Any]:
    """What exists, what is stale, and what was spent."""
    bills: list[dict[str, Any]] = []
    if run.ledger.exists():
        with Ledger(run.ledger) as ledger:
            bills = ledger.bills()
    return {
        "name": run.config.name,
        "folder": run.config.folder,
        "iterations": [_state(run, iteration) for iteration in run.store.iterations()],
        "spent": bills,
    }


def _state(run: Run, iteration: int) -> dict[str, Any]:
    state: dict[str, Any] = {"iteration": iteration, "trained": run.store.solver_folder(iteration).exists()}
    names = ("revision", "prompts", "pairs", "changed_files", "changed_settings", "changed_inputs", "unknown", "error")
    state |= dict.fromkeys(names)
    try:
        manifest = run.store.manifest(iteration)
        state |= {"revision": manifest.revision, "prompts": manifest.counts.prompts, "pairs": manifest.counts.pairs}
        state["changed_files"] = run.store.changed_files(iteration)
        found = changes(run, manifest)
        state |= {
            "changed_settings": found.settings,
            "changed_inputs": found.inputs,
            "unknown": found.unknown,
        }
    except EvaError as error:
        state["error"] = str(error)
    return state


def consensus_values(store: Store, iteration: int) -> dict[str, Any] | None:
    """How often the consensus of an iteration is right, and the alarms; None if its reward is no consensus."""
    found = precision_of(store, [each for each in store.iterations() if each <= iteration])
    if found is None or iteration not in found.voted["iteration"]:
        return None
    here = pl.col("iteration") == iteration
    (row,) = found.voted.filter(here).drop("iteration").to_dicts()
    return row | {"by_agreement": found.by_agreement.filter(here).drop("iteration"), "alarms": found.alarms}


def lineage_values(store: Store, iteration: int, rows: int) -> list[dict[str, Any]]:
    """The most informative pairs of an iteration with their ancestors and responses."""
    store.manifest(iteration)
    chosen, _ = most_informative(store, iteration, rows)
    known = relatives(store, iteration, chosen["root_id"])
    answers = store.scan("responses", iteration).filter(pl.col("stage") != "estimate")
    wanted = answers.filter(pl.col("prompt_id").is_in(chosen["prompt_id"].implode()))
    responses = wanted.select("prompt_id", "stage", "response_idx", "response", "reward").collect()
    return [
        {
            **{name: pair[name] for name in ("pair_id", "prompt_id", "a_min", "score_chosen", "score_rejected")},
            **{name: pair[name] for name in ("chosen", "rejected")},
            "lineage": lineage(pair, known),
            "responses": responses.filter(pl.col("prompt_id") == pair["prompt_id"]).sort("stage", "response_idx"),
        }
        for pair in chosen.to_dicts()
    ]
