"""Counts an iteration again, and compares rows, tokens, models and money in its manifest with tables and ledger."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import polars as pl

from eva_data.config import TableModel
from eva_data.dataset.compose import counts_of, summary_of, tokens_of
from eva_data.dataset.inputs import hash_of_prompts
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.ordered import Table, height_of, id_of, in_memory
from eva_data.dataset.staleness import config_of, what_counts
from eva_data.secrets import SHOWN
from eva_data.tables.ids import prompt_id
from eva_data.tables.ranges import ranges_for
from eva_data.tables.reasons import RESPONSE_FAILED

Tables = Mapping[str, Table]


def recount(manifest: Manifest, tables: Tables) -> list[str]:
    """The differences between a manifest and its tables, one sentence each."""
    config = config_of(manifest)
    said = manifest.model_fields_set
    found = list(_differing("counts", manifest.counts.model_dump(), counts_of(tables).model_dump()))
    if manifest.tokens is not None:
        found += _differing("tokens", manifest.tokens.model_dump(), tokens_of(tables).model_dump())
    if "informativeness" in said:
        now = summary_of(tables["informativeness"], tables["prompts"], config.estimate.metric)
        found += _differing(
            "informativeness",
            [each.model_dump() for each in manifest.informativeness],
            [each.model_dump() for each in now],
        )
    if not _holds(what_counts(config, manifest.iteration), manifest.settings):
        found.append("manifest: `settings` are not those that follow from its `config`")
    if manifest.iteration == 1 and manifest.online is None and "prompts" in manifest.inputs:
        begun = hash_of_prompts(tables["prompts"])
        found += _differing("inputs.prompts", manifest.inputs["prompts"], begun)
    if manifest.evolving is not None:
        eliminated = height_of(tables["evolutions"].lazy().filter(pl.col("status") == "eliminated"))
        found += _differing("evolving.eliminated", sum(manifest.evolving.eliminated.values()), eliminated)
    return [*found, *_models(manifest, tables)]


def recount_flow(manifest: Manifest, tables: Tables) -> list[str]:
    """The differences between the flow of a build and its tables, one sentence each."""
    found: list[str] = []
    for flow in manifest.flow:
        expected = _flow(flow.stage, tables)
        found += _differing(f"flow.{flow.stage}", {key: getattr(flow, key) for key in expected}, expected)
    return found


def _flow(stage: str, tables: Tables) -> dict[str, int]:
    """The numbers of a stage's flow that the tables show."""
    responses, rejects = tables["responses"].lazy(), tables["rejects"].lazy()
    evolutions, informative = tables["evolutions"].lazy(), tables["informativeness"].lazy()
    preferences, prompts = tables["preferences"].lazy(), tables["prompts"].lazy()

    def number(table: pl.LazyFrame, value: pl.Expr) -> int:
        return int(table.select(value).collect(engine="streaming").item())

    def rejected(*stages: str) -> int:
        failed = pl.col("reason").str.starts_with(RESPONSE_FAILED).fill_null(False)
        return height_of(rejects.filter(pl.col("stage").is_in(stages) & ~failed))

    def asked(stage: str) -> pl.LazyFrame:
        return responses.filter((pl.col("stage") == stage) & ~pl.col("reused"))

    of_prompts, rewards = pl.col("prompt_id").n_unique(), pl.col("reward").count()
    if stage in ("respond", "estimate", "contrast"):
        return {"rows_out": number(asked(stage), of_prompts), "rejected": rejected(stage)}
    if stage.startswith("reward"):
        scored = asked(stage[8:-1]) if stage.endswith(")") else responses
        return {"rows_in": height_of(scored), "rows_out": number(scored, rewards)}
    if stage == "seeds":
        return {"rows_out": height_of(prompts.filter(pl.col("origin") == "seed")), "rejected": rejected("seeds")}
    if stage == "table":
        return {"rows_out": height_of(asked("respond")), "rejected": rejected("seeds", "reward")}
    if stage == "sample":
        drawn = informative.filter(pl.col("stage") == "estimate")
        return {"rows_in": height_of(drawn), "rows_out": number(drawn, pl.col("selected").sum())}
    if stage == "evolve":
        names = {"rows_out": "mixed", "rejected": "eliminated", "set_aside": "unused"}
        by_status = {key: height_of(evolutions.filter(pl.col("status") == name)) for key, name in names.items()}
        return {"rows_in": height_of(evolutions)} | by_status
    if stage == "pair":
        return {
            "rows_in": height_of(prompts),
            "rows_out": number(preferences, of_prompts),
            "rejected": rejected("pair"),
        }
    if stage == "rewrite":
        return {
            "rows_in": height_of(preferences),
            "rows_out": height_of(asked(stage)),
            "rejected": rejected(stage),
        }
    if stage == "pair (rewrite)":
        taken = number(preferences, pl.col("rewritten").sum())
        return {"rows_in": number(asked("rewrite"), rewards), "rows_out": taken}
    return {}


def _models(manifest: Manifest, tables: Tables) -> list[str]:
    """The columns of model names that differ from the manifest, one sentence each."""
    models, of_table = manifest.models, isinstance(config_of(manifest).solver, TableModel) and manifest.iteration == 1
    responses, evolutions, prompts = (tables[name].lazy() for name in ("responses", "evolutions", "prompts"))
    here, of_contrast = pl.col("created_iteration") == manifest.iteration, pl.col("stage") == "contrast"
    columns = {
        "responses.reward_model": (responses.select("reward_model"), models.reward),
        "evolutions.creator": (evolutions.select("creator"), models.creator),
        "prompts.creator": (prompts.filter(here).select("creator"), models.creator),
        "responses.solver (contrast)": (responses.filter(of_contrast).select("solver"), models.contrast),
    }
    if not of_table:
        solver = pl.col("solver")
        # The solver of an online run changes with every step.
        named = solver if manifest.online is None else solver.str.replace(r"-\d+$", "")
        columns["responses.solver"] = (responses.filter(~of_contrast).select(named), models.solver)
    others = {
        name: values.drop_nulls().unique().collect(engine="streaming").to_series().sort().to_list()
        for name, (values, _) in columns.items()
    }
    return [
        f"{name}: it holds {', '.join(map(str, found[:3]))}, and the manifest names {columns[name][1]}"
        for name, found in others.items()
        if found not in ([], [columns[name][1]])
    ]


def misnamed_prompts(tables: Tables, unknown: list[str]) -> list[str]:
    """Prompts whose id is not the hash of their content.

    A text with a masked secret may have been named before it was masked. `unknown` is told how many such prompts have
    another id.
    """
    masked = pl.col("prompt").list.eval(pl.element().struct.field("content").str.contains(SHOWN, literal=True))
    found, unclear = [], 0
    for name in ("prompts", "evolutions"):
        wrongly = pl.col("prompt").is_not_null() & (pl.col("prompt_id") != prompt_id(pl.col("prompt")))
        rows = tables[name].lazy()
        others = pl.concat(
            in_memory(part.with_nulls(rows, id_of(name)).filter(wrongly).select("prompt_id", masked.list.any()))
            for part in ranges_for(height_of(rows))
        )
        wrong = others.filter(~pl.col("prompt"))["prompt_id"]
        unclear += others.height - wrong.len()
        if wrong.len():
            found.append(f"{name}: {wrong.len()} prompts are not what their ids are hashes of: {wrong.sort()[0]} ...")
    if unclear:
        unknown.append(f"the ids of {unclear} prompts in which `{SHOWN}` stands, perhaps in the place of a secret")
    return found


def recount_spent(manifest: Manifest, bills: Sequence[Mapping[str, Any]]) -> list[str]:
    """Where the ledger holds less than the manifest states. It may hold more, since other folders may share it."""
    kept = {(bill["stage"], bill["model"]): bill for bill in bills}
    found: list[str] = []
    for spent in manifest.spent:
        bill = kept.get((spent.stage, spent.model))
        numbers = ("replies", "completions", "prompt_tokens", "completion_tokens", "cost")
        said = spent.model_dump()
        lacking = [name for name in numbers if bill is None or bill[name] < said[name] - 1e-9]
        if lacking:
            held = {name: bill[name] if bill else 0 for name in lacking}
            found.append(
                f"manifest: `spent` of {spent.model} in stage {spent.stage} is "
                f"{', '.join(f'{said[name]:g} {name}' for name in lacking)}, and the ledger holds "
                f"{', '.join(f'{held[name]:g}' for name in lacking)}"
            )
    return found


def _differing(key: str, said: Any, computed: Any) -> Iterator[str]:
    """One sentence for every value in which the stated values differ from the computed values."""
    if isinstance(said, Mapping) and isinstance(computed, Mapping):
        for name in sorted({*said, *computed}):
            yield from _differing(f"{key}.{name}", said.get(name), computed.get(name))
    elif isinstance(said, list) and isinstance(computed, list) and len(said) == len(computed):
        for number, (one, other) in enumerate(zip(said, computed, strict=True)):
            yield from _differing(f"{key}[{number}]", one, other)
    elif not _same(said, computed):
        yield f"manifest: `{key}` is {said}, and {computed} follows from the tables"


def _same(said: Any, computed: Any) -> bool:
    if isinstance(said, float) and isinstance(computed, int | float):
        # Another version of polars may add in another order, so that sums differ in the last bits.
        return math.isclose(said, computed, rel_tol=1e-9, abs_tol=1e-12)
    return bool(said == computed)


def _holds(now: Any, recorded: Any) -> bool:
    """Whether the recorded value is part of the present value, which may have keys that are newer than the record."""
    if isinstance(recorded, Mapping):
        return isinstance(now, Mapping) and all(key in now and _holds(now[key], recorded[key]) for key in recorded)
    if isinstance(recorded, list | tuple):
        return (
            isinstance(now, list | tuple)
            and len(now) == len(recorded)
            and all(_holds(one, other) for one, other in zip(now, recorded, strict=True))
        )
    return bool(now == recorded)
