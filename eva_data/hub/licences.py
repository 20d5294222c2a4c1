"""Compares the licence of a dataset that is to be public with the licences of what it was made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from eva_data.dataset.manifest import Manifest
from eva_data.dataset.records.licences import (
    MOST_BYTES,
    LicenceRecord,
    LicenceRow,
    parse_licence_record,
    record_name,
)
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, DataError
from eva_data.files import sha256, write_json
from eva_data.hub.checks.as_written import UNREADABLE
from eva_data.hub.repo import HubRepo, Snapshot
from eva_data.iteration.run import Run
from eva_data.models.licences import is_function, models_in, strictness
from eva_data.secrets import redacted

_OURS = {"sandbox": "apache-2.0"}
"""Sources of eva-data itself."""
_PACKAGED = {"reasoning_gym/": "apache-2.0"}
"""Beginnings of the names of environments, with their package's licence."""


def licence_rows(run: Run, iteration: int) -> list[LicenceRow]:
    """One row per source of the iterations up to t: the seeds, and the models that answered, rewrote and judged.

    A licence is what `publish.source_licences` says, else what the model's own card or the Hub dataset's card states.
    Terms are what the manifest says: where a provider's terms are written, or the licence that a card links.
    """
    found: dict[tuple[str, str], LicenceRow] = {}
    for number, role, name in sources_of(run.store, iteration):
        manifest = run.store.manifest(number)
        if (role, name) not in found:
            terms = None if role == "seeds" else _of_model(manifest.terms, name)
            found[role, name] = LicenceRow(
                role=role, name=name, licence=_licence(run, manifest, role, name), terms=terms
            )
    return list(found.values())


def sources_of(store: Store, iteration: int) -> Iterator[tuple[int, str, str]]:
    """(iteration, role, name) of the sources of each iteration up to t. A source may be in several iterations."""
    for number in (each for each in store.iterations() if each <= iteration):
        seeds = store.scan("prompts", number).select(pl.col("source").unique().sort()).collect().to_series()
        yield from ((number, "seeds", name) for name in seeds.drop_nulls())
        yield from ((number, role, name) for role, name in _models(store.manifest(number)))


def _models(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(role, name) of the models that are not trained here, and that are models at all."""
    trained = manifest.models.solver if manifest.theta is not None else None
    for role in ("solver", "creator", "contrast"):
        name = getattr(manifest.models, role)
        if name is not None and name != trained and not is_function(name):
            yield role, name
    for part in _parts(manifest.models.reward or ""):
        role = "judge" if part.startswith(("judge:", "tournament:", "consensus:")) else "reward"
        yield from ((role, model) for model in models_in(part))


def _parts(reward: str) -> list[str]:
    """The rewards in the name of one or of several."""
    if not reward.startswith("mean("):
        return [reward]
    return reward.removeprefix("mean(").removesuffix(")").split(", ")


def _of_model(stated: Mapping[str, str], name: str) -> str | None:
    """What is stated of a model, by its fingerprint, or by the name of a reward that it gives."""
    return next((value for key, value in stated.items() if key == name or name in models_in(key)), None)


def _licence(run: Run, manifest: Manifest, role: str, name: str) -> str | None:
    given = run.config.publish.source_licences
    stated = given.get(name) or given.get(name.rpartition("@")[0]) or given.get(name.partition("@")[0])
    if stated is not None:
        return stated
    if role != "seeds":
        return _of_model(manifest.licences, name)
    if name in _OURS:
        return _OURS[name]
    packaged = next((licence for begin, licence in _PACKAGED.items() if name.startswith(begin)), None)
    seeds = run.config.seeds
    return packaged or (HubRepo(name).licence() if seeds is not None and seeds.dataset == name else None)


def _objection(chosen: str, row: LicenceRow) -> tuple[str, str] | None:
    """Why a licence may not be given to texts of a source, and what to do about it; None if it may."""
    demands = None if row.licence is None else strictness(row.licence)
    ours = strictness(chosen)
    if demands is None:
        known = "is not known" if row.licence is None else f"is {row.licence}, which has no class here"
        see = f" (its terms: {row.terms})" if row.terms else ""
        return f"the licence of the {row.role} `{row.name}` {known}{see}", "name it in `publish.source_licences`"
    if ours is not None and ours < demands:
        theirs = f"{row.licence}, that of the {row.role} `{row.name}`"
        return f"`publish.licence` is {chosen}, which allows more than {theirs}", "choose one that demands as much"
    return None


def refuse_licence(run: Run, rows: Sequence[LicenceRow], hub: HubRepo) -> None:
    """Raise ConfigError if the chosen licence allows more than that of a source, or if a source's is not known.

    `rows` are those of `licence_rows`. `publish.licence_reason` says why it is allowed all the same; then nothing is
    refused.
    """
    chosen, reason = run.config.publish.licence, run.config.publish.licence_reason
    if chosen is None or reason:
        return
    for row in rows:
        if (objection := _objection(chosen, row)) is not None:
            what, way = objection
            raise ConfigError(
                f"{what}, so {hub.name} is not made public: {way}, say why it is allowed with `--accept-licence "
                "REASON`, or publish with `--private`"
            )


def record_of(run: Run, rows: Sequence[LicenceRow], iteration: int, revision: int) -> LicenceRecord:
    """The record of a revision that is published under the chosen licence. `rows` may hold those of later iterations.

    A key in the reason is left out.
    """
    store, publish = run.store.at(iteration, revision), run.config.publish
    assert publish.licence is not None
    there = {(role, name) for _, role, name in sources_of(store, iteration)}
    return LicenceRecord(
        manifest=sha256(store.manifest_path(iteration)),
        licence=publish.licence,
        reason=redacted(publish.licence_reason),
        sources=tuple(row for row in rows if (row.role, row.name) in there),
    )


def write_record(folder: Path, name: str, record: LicenceRecord) -> Path:
    """Write a record to its place in a folder and return the file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, record.model_dump(mode="json"))
    return path


def fetch_records(hub: HubRepo, found: Snapshot, downloads: Path, wholes: Sequence[tuple[int, int]]) -> list[str]:
    """Download the records of these revisions, as far as the repo has them, and return their names.

    Raise DataError if one is no record, or is about another manifest than that in `downloads`.
    """
    names = []
    for number, revision in wholes:
        name = record_name(number, revision)
        if name not in found.files:
            continue
        if found.sizes[name] > MOST_BYTES:
            raise DataError(f"{name} of {hub.name} has {found.sizes[name]:,} bytes, which no record of a licence has")
        hub.download(name, found.commit, downloads)
        if problem := _other_manifest(Store(downloads).at(number, revision), number, revision):
            raise DataError(f"{hub.name}: {problem}")
        names.append(name)
    return names


def verify_records(store: Store, iteration: int) -> list[str]:
    """What is wrong with the records of the licence of an iteration's revisions. There are none before a publish."""
    problems = []
    for revision in store.revisions(iteration):
        seen, name = store.at(iteration, revision), record_name(iteration, revision)
        if not (store.folder / name).exists():
            continue
        try:
            record = parse_licence_record((store.folder / name).read_bytes(), name)
            if problem := _other_manifest(seen, iteration, revision):
                problems.append(problem)
            there = {(role, source) for _, role, source in sources_of(seen, iteration)}
        except (DataError, *UNREADABLE) as error:
            problems.append(str(error))
            continue
        if missing := sorted(there - {(row.role, row.name) for row in record.sources}):
            problems.append(f"{name} says nothing of the {missing[0][0]} `{missing[0][1]}`")
        objections = (_objection(record.licence, row) for row in record.sources)
        if record.reason is None and (objection := next((each for each in objections if each), None)) is not None:
            problems.append(f"{name} gives no reason although {objection[0]}")
    return problems


def _other_manifest(store: Store, iteration: int, revision: int) -> str | None:
    """How a record is not about the manifest beside it; None if it is. Raise DataError if it is no record."""
    name = record_name(iteration, revision)
    record = parse_licence_record((store.folder / name).read_bytes(), name)
    manifest = store.manifest_path(iteration)
    return None if record.manifest == sha256(manifest) else f"{name} is about another manifest than {manifest.name}"
