"""Pulls a published dataset: the local folder as it was on the machine that published it, but for `.eva`.

Manifests and tables are downloaded beside the dataset and compared with one another and with the manifests' claims.
Only then are they moved to their places, each manifest after its tables, so that a pull which is cut off leaves no half
iteration. As long as `.eva/pull` is there, a pull is not finished, and nothing else works in the folder.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eva_data.dataset.manifest import FileEntry, Manifest
from eva_data.dataset.store import Store
from eva_data.errors import DataError, HubError
from eva_data.files import write_text
from eva_data.hub.claims import (
    GB,
    MANIFEST_BYTES,
    Manifests,
    manifest_name,
    read_claims,
    refuse_damaged,
    refuse_other_sizes,
    refuse_too_large,
    refuse_unrelated,
)
from eva_data.hub.consent import settings_text
from eva_data.hub.repo import HubRepo, Snapshot
from eva_data.jobs.job import Progress
from eva_data.report.card import write_card
from eva_data.tables.schemas import TABLES

MAX_GB = 10.0
"""The most that is downloaded unless the user allows more."""

_MANIFEST = re.compile(r"manifests/iter_([1-9]\d{0,8})(?:\.r([1-9]\d{0,8}))?\.json")
_OURS = {".eva", "README.md", "manifests", "plots", *TABLES}
"""What a dataset folder, or half of one, may hold."""


@dataclass(frozen=True)
class Pulled:
    """What is in the folder now, or would be."""

    folder: Path
    iterations: tuple[int, ...]
    manifest: Manifest
    """Of the last of them."""
    files: int
    """Tables that were downloaded, or would be."""
    bytes: int
    """Of these."""
    wrote_settings: bool = False


def pull(
    repo: str,
    folder: Path,
    *,
    revision: str | None = None,
    max_gb: float = MAX_GB,
    settings: Path | None = None,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> Pulled:
    """Bring the iterations of a published dataset at a revision (else the head of main) into a folder.

    What the folder has already is not downloaded again, and its further iterations stay. `settings` is where an
    eva.yaml of the dataset's settings is written unless there is one. `dry_run` downloads and checks the manifests and
    leaves the folder as it is. `on_progress` is told (files there, all of them).

    Raises HubError where the repo, the revision or the network is missing, or more than `max_gb` would come, and
    DataError where the repo is no dataset of eva-data, a file is not what its manifest says, or the folder holds other
    data.
    """
    hub, store = HubRepo(repo), Store(folder)
    _refuse_foreign(store)
    found = hub.look(revision)
    if found is None:
        raise HubError(
            f"there is no dataset repo {repo} at {hub.url}, or this login may not see it: check the name, and log in "
            "with `hf auth login` if it is private"
        )
    wholes = _published(repo, found)
    if dry_run:
        with tempfile.TemporaryDirectory() as aside:
            manifests, wanted = _agreed(hub, found, store, Path(aside), wholes, max_gb)
        return _pulled(folder, manifests, wanted)
    with store.locked(pulling=True):
        downloads = store.pull_folder
        manifests, wanted = _agreed(hub, found, store, downloads, wholes, max_gb)
        for done, (name, entry) in enumerate(wanted.items(), 1):
            hub.download(name, found.commit, downloads)
            refuse_damaged(repo, downloads / name, name, entry)
            if on_progress:
                on_progress(done, len(wanted))
        pulled = _pulled(folder, manifests, wanted)
        # Before the data: whoever is cut off in between finds settings that wait, not the sandbox's.
        if settings is not None and not settings.exists():
            write_text(settings, settings_text(pulled.manifest, repo, folder))
            pulled = replace(pulled, wrote_settings=True)
        waiting = set(wanted)
        for (number, review), manifest in manifests.items():
            # A revision names the tables of its build as well.
            _move(downloads, store, [name for name in manifest.files if name in waiting])
            waiting -= manifest.files.keys()
            _move(downloads, store, [manifest_name(number, review)])
        write_card(store)
        shutil.rmtree(downloads)
    return pulled


def _published(repo: str, found: Snapshot) -> list[tuple[int, int]]:
    """(iteration, revision) of the manifests in the repo, in order."""
    matches = [match for name in found.files if (match := _MANIFEST.fullmatch(name))]
    wholes = sorted((int(match[1]), int(match[2] or 0)) for match in matches)
    numbers = [number for number, review in wholes if review == 0]
    if not numbers or numbers != list(range(1, len(numbers) + 1)) or wholes[-1][0] > numbers[-1]:
        raise DataError(
            f"{repo} holds manifests of the iterations {_few(numbers)}, where 1, 2, ... were expected: it is no "
            "dataset that eva-data published"
        )
    for number, review in wholes:
        size = found.sizes[manifest_name(number, review)]
        if size > MANIFEST_BYTES:
            raise DataError(
                f"{manifest_name(number, review)} of {repo} has {size / GB:.3f} GB, and no manifest has more than "
                f"{MANIFEST_BYTES / GB:.3f}: it is no dataset that eva-data published"
            )
    return wholes


def _few(numbers: Sequence[int]) -> str:
    return f"{str(numbers[:10])[:-1]}{', ...' if len(numbers) > 10 else ''}]" if numbers else "none"


def _agreed(
    hub: HubRepo, found: Snapshot, store: Store, downloads: Path, wholes: Sequence[tuple[int, int]], max_gb: float
) -> tuple[Manifests, dict[str, FileEntry]]:
    """The manifests, downloaded and found to agree with one another and the repo, and the tables the folder lacks."""
    manifests: dict[tuple[int, int], Manifest] = {}
    for number, review in wholes:
        name = manifest_name(number, review)
        hub.download(name, found.commit, downloads)
        if not found.holds(name, downloads / name):
            (downloads / name).unlink()
            raise DataError(f"{name} did not arrive as {hub.name} has it: pull again")
        manifests[number, review] = read_claims(hub.name, downloads / name, number, review)
        _refuse_other(hub.name, store, manifests[number, review])
    refuse_unrelated(hub.name, manifests)
    wanted = _missing(store, manifests)
    refuse_other_sizes(hub.name, found, wanted)
    refuse_too_large(hub.name, wanted, max_gb)
    return manifests, wanted


def _pulled(folder: Path, manifests: Manifests, wanted: Mapping[str, FileEntry]) -> Pulled:
    numbers = tuple(sorted({number for number, _ in manifests}))
    last = max(manifests)
    return Pulled(folder, numbers, manifests[last], len(wanted), sum(entry.bytes for entry in wanted.values()))


def _refuse_foreign(store: Store) -> None:
    if not store.folder.is_dir() or store.iterations():
        return
    foreign = sorted(path.name for path in store.folder.iterdir() if path.name not in _OURS)
    if foreign:
        raise DataError(
            f"{store.folder} holds other data ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}) and no "
            "dataset of eva-data: name an empty folder with `--folder`"
        )


def _refuse_other(repo: str, store: Store, manifest: Manifest) -> None:
    """Raise DataError where the folder has another iteration of that number and revision, or has changed its tables."""
    number, revision = manifest.iteration, manifest.revision
    if number not in store.iterations() or revision not in store.revisions(number):
        return
    other = store.at(number, revision).manifest(number) != manifest
    changed = [name for name in store.changed_files(number) if (store.folder / name).exists()]
    if other or changed:
        which = f"{number} r{revision}" if revision else f"{number}"
        what = f"another iteration {which}" if other else f"iteration {number} with changes in {', '.join(changed)}"
        raise DataError(
            f"{store.folder} holds {what} than {repo} has, and is left as it is: pull into another folder with "
            "`--folder`"
        )


def _missing(store: Store, manifests: Manifests) -> dict[str, FileEntry]:
    """The tables that the folder lacks, with what their manifests say of them."""
    missing: dict[str, FileEntry] = {}
    for (number, _), manifest in manifests.items():
        # What is there under a manifest was compared with it before.
        there = {name for name in _files_of(store, number) if (store.folder / name).exists()}
        missing |= {name: manifest.files[name] for name in sorted(manifest.files) if name not in there}
    return missing


def _files_of(store: Store, number: int) -> set[str]:
    """The tables that the folder's manifests of an iteration name."""
    if number not in store.iterations():
        return set()
    return {name for each in store.revisions(number) for name in store.at(number, each).manifest(number).files}


def _move(downloads: Path, store: Store, names: Sequence[str]) -> None:
    for name in names:
        place = store.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (downloads / name).replace(place)
