"""Compares the licence of a dataset that is to be public with the licences of what it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from eva_data.dataset.manifest import Manifest
from eva_data.errors import ConfigError
from eva_data.hub.repo import HubRepo
from eva_data.iteration.run import Run
from eva_data.models.licences import is_function, strictness

_OURS = {"sandbox": "apache-2.0"}
"""Sources of eva-data itself."""
_PACKAGED = {"reasoning_gym/": "apache-2.0"}
"""Beginnings of the names of environments, with their package's licence."""


@dataclass(frozen=True)
class LicenceRow:
    """A source of the dataset's texts or verdicts."""

    role: str
    """`seeds`, `solver`, `creator`, `reward` or `contrast`."""
    name: str
    licence: str | None
    """By the Hub's name; None if nobody states it."""


def licence_rows(run: Run, iteration: int) -> list[LicenceRow]:
    """One row per source of the iterations up to t: the seeds, and the models that answered, rewrote and judged.

    A licence is what `publish.source_licences` says, else what the model's own card or the Hub dataset's card states.
    """
    store, found = run.store, dict[tuple[str, str], LicenceRow]()
    for number in (each for each in store.iterations() if each <= iteration):
        seeds = store.scan("prompts", number).select(pl.col("source").unique().sort()).collect().to_series()
        manifest = store.manifest(number)
        for role, name in [("seeds", name) for name in seeds.drop_nulls()] + [*_models(manifest)]:
            if (role, name) not in found:
                found[role, name] = LicenceRow(role, name, _licence(run, manifest, role, name))
    return list(found.values())


def _models(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(role, name) of the models that are not trained here, and that are models at all."""
    trained = manifest.models.solver if manifest.theta is not None else None
    for role in ("solver", "creator", "reward", "contrast"):
        name = getattr(manifest.models, role)
        if name is not None and name != trained and not is_function(name):
            yield role, name


def _licence(run: Run, manifest: Manifest, role: str, name: str) -> str | None:
    given = run.config.publish.source_licences
    stated = given.get(name) or given.get(name.rpartition("@")[0]) or given.get(name.partition("@")[0])
    if stated is not None:
        return stated
    if role != "seeds":
        # The name of several rewards holds the names of its models.
        known = [licence for model, licence in manifest.licences.items() if model in name]
        return ", ".join(known) or None
    if name in _OURS:
        return _OURS[name]
    packaged = next((licence for begin, licence in _PACKAGED.items() if name.startswith(begin)), None)
    seeds = run.config.seeds
    return packaged or (HubRepo(name).licence() if seeds is not None and seeds.dataset == name else None)


def refuse_licence(run: Run, iteration: int, hub: HubRepo) -> None:
    """Raise ConfigError if the chosen licence allows more than that of a source, or if a source's is not known.

    `publish.licence_reason` says why it is allowed all the same; then nothing is refused.
    """
    chosen, reason = run.config.publish.licence, run.config.publish.licence_reason
    if chosen is None or reason:
        return
    ours = strictness(chosen)
    for row in licence_rows(run, iteration):
        demands = None if row.licence is None else strictness(row.licence)
        if demands is None:
            known = "is not known" if row.licence is None else f"is {row.licence}, which has no class here"
            what = f"the licence of the {row.role} `{row.name}` {known}"
            way = "name it in `publish.source_licences`"
        elif ours is not None and ours < demands:
            theirs = f"{row.licence}, that of the {row.role} `{row.name}`"
            what = f"`publish.licence` is {chosen}, which allows more than {theirs}"
            way = "choose one that demands as much"
        else:
            continue
        raise ConfigError(
            f"{what}, so {hub.name} is not made public: {way}, say why it is allowed with `--accept-licence REASON`, "
            "or publish with `--private`"
        )
