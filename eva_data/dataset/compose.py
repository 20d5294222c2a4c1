"""Composes the manifest of an iteration that was just built."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import polars as pl

from eva_data import __version__
from eva_data.config import Config
from eva_data.dataset.manifest import (
    FORMAT,
    Consumed,
    Counts,
    Evolving,
    LengthRecord,
    Manifest,
    Models,
    Spent,
    Summary,
    Tokens,
)
from eva_data.dataset.ordered import Table, height_of, in_memory
from eva_data.dataset.staleness import settings_hash, what_counts, without_folders
from eva_data.errors import DataError
from eva_data.tables.flow import Flow
from eva_data.tables.metrics import column_of
from eva_data.tables.ranges import ranges_for
from eva_data.tables.reasons import kind
from eva_data.tables.rules import RULES

_LIBRARIES = ("distilabel", "transformers", "torch", "trl", "polars", "pyarrow", "datasets")

JOINED_PROMPTS = 500_000
"""Prompts whose ids are in memory together."""

TOPICS_BY = "scikit-learn"
"""The package that makes topics. Its version is recorded where there are any."""


@dataclass(frozen=True)
class Stated:
    """What is known of the licences of models, by their fingerprints."""

    licences: Mapping[str, str]
    """Licences by the Hub's name, as models' cards state them."""
    terms: Mapping[str, str]
    """Where terms are written: a URL, or the provider in words."""


NOTHING_STATED = Stated({}, {})


@dataclass(frozen=True)
class Built:
    """The result of all stages of an iteration."""

    iteration: int
    tables: Mapping[str, Table]
    """Name (of `tables.schemas.TABLES`) -> table. A large one is scanned, and lies in the work folder of the build."""
    flows: Sequence[Flow]
    models: Models
    notes: Sequence[str]
    """What the user was told during the build."""
    theta: int | None = None
    """t - 1 if theta_{t-1} answered; None if another model did."""
    stated: Stated = NOTHING_STATED
    """What is known of the models' licences."""
    previous: Manifest | None = None
    """The manifest of the iteration that this one was built from; None for the first iteration."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    evolving: Evolving | None = None
    reward_scales: Mapping[str, Sequence[float]] = field(default_factory=dict)
    bills: Sequence[Mapping[str, Any]] = ()
    """What the iteration took according to the ledger, with the fields of `Spent`."""
    online: Mapping[str, Any] | None = None
    lengths: Mapping[str, LengthRecord] = field(default_factory=dict)


def compose(config: Config, built: Built) -> Manifest:
    """The manifest of an iteration, still without its files. It holds no time and no path of this machine."""
    tables = built.tables
    with_topics = "topics" in tables and height_of(tables["topics"]) > 0
    libraries = (*_LIBRARIES, *([TOPICS_BY] if with_topics else []))
    optional: dict[str, Any] = {} if built.online is None else {"online": dict(built.online)}
    optional |= {"terms": dict(built.stated.terms)} if built.stated.terms else {}
    optional |= {"lengths": dict(built.lengths)} if built.lengths else {}
    return Manifest(
        format=FORMAT,
        rules=RULES,
        eva_data=__version__,
        iteration=built.iteration,
        config=without_folders(config.data() | {"name": config.name}),
        settings=what_counts(config, built.iteration),
        models=built.models,
        theta=built.theta,
        licences=dict(built.stated.licences),
        previous=_consumed(built.previous) if built.previous else None,
        inputs=dict(built.inputs),
        counts=counts_of(tables),
        flow=tuple(built.flows),
        evolving=built.evolving,
        tokens=tokens_of(tables),
        reward_scales={name: (mean, deviation) for name, (mean, deviation) in built.reward_scales.items()},
        spent=tuple(Spent(**bill) for bill in built.bills),
        informativeness=summary_of(tables["informativeness"], tables["prompts"], config.estimate.metric),
        notes=tuple(built.notes),
        versions={"python": platform.python_version(), **{name: _version(name) for name in libraries}},
        **optional,
    )


def _consumed(previous: Manifest) -> Consumed:
    """What the next iteration records about the iteration that it was built from, its revision included."""
    revision = {"revision": previous.revision} if previous.revision else {}
    return Consumed(settings_hash=settings_hash(previous), files=previous.files, **revision)


def counts_of(tables: Mapping[str, Table]) -> Counts:
    """The numbers of rows of the tables."""
    return Counts(
        prompts=height_of(tables["prompts"]),
        evolved=height_of(tables["prompts"].lazy().filter(pl.col("mix_role") == "evolved")),
        pairs=height_of(tables["preferences"]),
        rejects=height_of(tables["rejects"]),
        rejects_by_reason=rejects_by_reason(tables["rejects"]),
    )


def tokens_of(tables: Mapping[str, Table]) -> Tokens:
    """The tokens that were generated in an iteration, as far as they were counted."""
    fresh = tables["responses"].lazy().filter(~pl.col("reused"))
    prompt, completion = (pl.col(f"{of}_tokens").cast(pl.Int64).sum() for of in ("prompt", "completion"))
    sums = fresh.select(prompt, completion).collect(engine="streaming").row(0)
    evolved = tables["evolutions"].lazy().select(completion).collect(engine="streaming").item()
    return Tokens(responses_prompt=sums[0], responses_completion=sums[1], evolutions_completion=evolved)


def rejects_by_reason(rejects: Table) -> dict[str, dict[str, int]]:
    """How many rows of REJECTS there are, by stage and kind of reason."""
    counts = rejects.lazy().group_by("stage", kind(pl.col("reason"))).len().sort("stage", "reason")
    found: dict[str, dict[str, int]] = {}
    for stage, cause, number in counts.collect(engine="streaming").iter_rows():
        found.setdefault(stage, {})[cause] = number
    return found


def summary_of(informativeness: Table, prompts: Table, metric: str) -> tuple[Summary, ...]:
    """Mean and quartiles of the metric that sampling uses, for evolved and other prompts of X_t.

    Raise DataError if one of them is not a finite number, as with rewards near the largest number.
    """
    group = pl.when(pl.col("mix_role") == "evolved").then(pl.lit("evolved")).otherwise(pl.lit("original"))
    rows = informativeness.lazy().filter(pl.col("stage") == "respond").select("prompt_id", value=column_of(metric))
    kinds = prompts.lazy().select("prompt_id", group.alias("prompts"))
    parts = [
        in_memory(part.of(rows))
        .join(in_memory(part.of(kinds)), on="prompt_id", maintain_order="left")
        .select("prompts", "value")
        for part in ranges_for(height_of(prompts), JOINED_PROMPTS)
    ]
    value = pl.col("value")
    summary = (
        pl.concat(parts, rechunk=True)
        .group_by("prompts")
        .agg(
            metric=pl.lit(metric).first(),
            count=value.count(),
            mean=value.mean(),
            **{name: value.quantile(q, "linear") for name, q in (("q25", 0.25), ("median", 0.5), ("q75", 0.75))},
        )
        .sort("prompts")
    )
    figures = summary.select("mean", "q25", "median", "q75")
    if not figures.select(pl.all_horizontal(pl.all().is_finite().fill_null(True).all())).item():
        raise DataError(
            f"the rewards are so large that the mean or a quartile of `{metric}` is not a finite number: "
            "divide the rewards by a constant"
        )
    return tuple(Summary(**row) for row in summary.to_dicts())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
