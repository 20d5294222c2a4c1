"""Pulls a published dataset: makes the folder that was published, without its `.eva`.

Manifests and tables are downloaded to a place beside the dataset. They are compared with one another and with the
claims of the manifests. Only then are they moved to their places, each manifest after its tables, so that a pull that
is cut off leaves no half iteration. As long as `.eva/pull` exists, a pull is not finished, and other commands refuse to
work in the folder.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eva_data.dataset.evaluations import FOLDER
from eva_data.dataset.manifest import FileEntry, Manifest
from eva_data.dataset.records.licences import FOLDER as LICENCES_FOLDER
from eva_data.dataset.records.prompt_scores import FOLDER as SCORES_FOLDER
from eva_data.dataset.store import Store
from eva_data.errors import DataError, HubError
from eva_data.files import lack_of_room, write_text
from eva_data.hub.beside import Beside, Waiting, unpacked_bytes
from eva_data.hub.claims import (
    GB,
    MANIFEST_BYTES,
    Manifests,
    claimed_bytes,
    manifest_name,
    read_claims,
    refuse_damaged,
    refuse_other_sizes,
    refuse_too_large,
    refuse_unrelated,
)
from eva_data.hub.consent import settings_text
from eva_data.hub.evaluated import EVALUATED
from eva_data.hub.licences import fetch_records
from eva_data.hub.rated import RATED
from eva_data.hub.repo import HubRepo, Snapshot
from eva_data.jobs.job import Progress
from eva_data.report.card import write_card
from eva_data.tables.schemas import TABLES

MAX_GB = 10.0
"""The largest download, in GB, unless the user allows more."""

_MANIFEST = re.compile(r"manifests/iter_([1-9]\d{0,8})(?:\.r([1-9]\d{0,8}))?\.json")
_BESIDE: tuple[Beside[Any], ...] = (EVALUATED, RATED)
_OURS = {".eva", "README.md", "manifests", "plots", FOLDER, LICENCES_FOLDER, SCORES_FOLDER, *TABLES}
"""Entries that a dataset folder may have."""


@dataclass(frozen=True)
class Pulled:
    """What `pull` did, or would do."""

    folder: Path
    iterations: tuple[int, ...]
    manifest: Manifest
    """The manifest of the last iteration."""
    files: int
    """Number of files of tables to download, evaluations and ratings among them."""
    bytes: int
    """Size of these files."""
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
    """Bring the iterations of a published dataset, at a revision or else the head of main, into a folder.

    Files that the folder has are not downloaded again, and further iterations in it stay. An eva.yaml with the
    dataset's settings is written to `settings`, unless there is a file. `dry_run` downloads and checks the manifests
    and leaves the folder as it is. `on_progress` is told (finished files, all files).

    Raise HubError if the repo, the revision or the network is missing, or if the download would exceed `max_gb`. Raise
    DataError if the repo is not a dataset of eva-data, if a file differs from its manifest, if the disk has no room for
    the files, or if the folder holds other data.
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
            beside = _agreed_beside(hub, found, store, Path(aside), wanted, max_gb)
        return _pulled(folder, manifests, wanted, beside)
    with store.locked(pulling=True):
        downloads = store.pull_folder
        manifests, wanted = _agreed(hub, found, store, downloads, wholes, max_gb)
        beside = _agreed_beside(hub, found, store, downloads, wanted, max_gb)
        _refuse_without_room(repo, downloads, wanted, beside)
        records = fetch_records(hub, found, downloads, wholes)
        unpacked = 0
        for done, (name, entry) in enumerate(wanted.items(), 1):
            hub.download(name, found.commit, downloads)
            refuse_damaged(repo, downloads / name, name, entry)
            unpacked += unpacked_bytes(repo, name, downloads / name, max_gb * GB - unpacked)
            if on_progress:
                on_progress(done, len(wanted))
        for kind, waiting_files in zip(_BESIDE, beside, strict=True):
            unpacked += kind.fetch(hub, found, downloads, waiting_files, max_gb * GB - unpacked)
        pulled = _pulled(folder, manifests, wanted, beside)
        # Settings come before the data: after a cut-off pull, the user finds waiting settings and not the sandbox's.
        if settings is not None and not settings.exists():
            write_text(settings, settings_text(pulled.manifest, repo, folder))
            pulled = replace(pulled, wrote_settings=True)
        waiting = set(wanted)
        for (number, review), manifest in manifests.items():
            # A revision names the tables of its build too.
            _move(downloads, store, [name for name in manifest.files if name in waiting])
            waiting -= manifest.files.keys()
            _move(downloads, store, [manifest_name(number, review)])
        _move(downloads, store, [name for each in beside for name in each.names])
        _move(downloads, store, [name for name in records if not (store.folder / name).exists()])
        write_card(store)
        shutil.rmtree(downloads)
    return pulled


def _published(repo: str, found: Snapshot) -> list[tuple[int, int]]:
    """Pairs (iteration, revision) of the manifests in the repo, in order."""
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
    """Download and compare the manifests. Return them and the files of tables that the folder lacks."""
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


def _agreed_beside(
    hub: HubRepo, found: Snapshot, store: Store, downloads: Path, wanted: Mapping[str, FileEntry], max_gb: float
) -> tuple[Waiting, ...]:
    """Download and compare the records of what lies beside the iterations."""
    left = max_gb * GB - claimed_bytes(wanted)
    agreed: list[Waiting] = []
    for kind in _BESIDE:
        agreed.append(kind.agreed(hub, found, store, downloads, left))
        left -= agreed[-1].bytes
    return tuple(agreed)


def _refuse_without_room(
    repo: str, downloads: Path, wanted: Mapping[str, FileEntry], beside: Sequence[Waiting]
) -> None:
    """Raise DataError if the disk has no room for the files that are still to be downloaded."""
    files = {**wanted, **{name: entry for each in beside for name, entry in each.files.items()}}
    needed = sum(entry.bytes for name, entry in files.items() if not (downloads / name).exists())
    if lack := lack_of_room(downloads, needed, f"`eva-data pull {repo}`"):
        raise DataError(lack)


def _pulled(folder: Path, manifests: Manifests, wanted: Mapping[str, FileEntry], beside: Sequence[Waiting]) -> Pulled:
    numbers = tuple(sorted({number for number, _ in manifests}))
    entries = [*wanted.values(), *(entry for each in beside for entry in each.files.values())]
    size = sum(entry.bytes for entry in entries)
    return Pulled(folder, numbers, manifests[max(manifests)], len(entries), size)


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
    """Raise DataError if the folder has another iteration of that number and revision, or changed tables of it."""
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
    """The files of tables that the folder lacks, with their entries in the manifests."""
    missing: dict[str, FileEntry] = {}
    for (number, _), manifest in manifests.items():
        # Files that a manifest in the folder names were compared with it before.
        there = {name for name in _files_of(store, number) if (store.folder / name).exists()}
        missing |= {name: manifest.files[name] for name in sorted(manifest.files) if name not in there}
    return missing


def _files_of(store: Store, number: int) -> set[str]:
    """The files of tables that the folder's manifests of an iteration name."""
    if number not in store.iterations():
        return set()
    return {name for each in store.revisions(number) for name in store.at(number, each).manifest(number).files}


def _move(downloads: Path, store: Store, names: Sequence[str]) -> None:
    for name in names:
        place = store.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (downloads / name).replace(place)
