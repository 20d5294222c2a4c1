"""Pulls a published dataset: the local folder as it was on the machine that published it, but for `.eva`.

Tables and manifests are downloaded beside the dataset, compared with the SHA-256 that the manifests give, and only
then moved to their places, each manifest after its tables, so that a pull which is cut off leaves no half iteration.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from eva_data.dataset.manifest import FileEntry, Manifest
from eva_data.dataset.staleness import config_of
from eva_data.dataset.store import Store, stem_of
from eva_data.errors import DataError, HubError
from eva_data.files import sha256
from eva_data.hub.repo import HubRepo
from eva_data.jobs.job import Progress
from eva_data.report.card import write_card
from eva_data.tables.schemas import TABLES

_MANIFEST = re.compile(r"manifests/iter_([1-9]\d*)(?:\.r([1-9]\d*))?\.json")
_OURS = {".eva", "README.md", "manifests", "plots", *TABLES}
"""What a dataset folder, or half of one, may hold."""


@dataclass(frozen=True)
class Pulled:
    """What is in the folder now."""

    folder: Path
    iterations: tuple[int, ...]
    manifest: Manifest
    """Of the last of them."""


def pull(repo: str, folder: Path, *, revision: str | None = None, on_progress: Progress | None = None) -> Pulled:
    """Bring the iterations of a published dataset at a revision (else the head of main) into a folder.

    What the folder has already is not downloaded again, and its further iterations stay. `on_progress` is told
    (files there, all of them). Raises HubError where the repo, the revision or the network is missing, and DataError
    where the repo is no dataset of eva-data, a file is not what its manifest says, or the folder holds other data.
    """
    hub, store = HubRepo(repo), Store(folder)
    _refuse_foreign(store)
    found = hub.look(revision)
    if found is None:
        raise HubError(
            f"there is no dataset repo {repo} at {hub.url}, or this login may not see it: check the name, and log in "
            "with `hf auth login` if it is private"
        )
    matches = [match for name in found.files if (match := _MANIFEST.fullmatch(name))]
    wholes = sorted((int(match[1]), int(match[2] or 0)) for match in matches)
    numbers = [number for number, review in wholes if review == 0]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise DataError(
            f"{repo} holds manifests of the iterations {numbers or 'none'}, where 1, 2, ... were expected: it is no "
            "dataset that eva-data published"
        )
    with store.locked():
        downloads = Store(store.state / "pull")
        for number, review in wholes:
            hub.download(_manifest_name(number, review), found.commit, downloads.folder)
            _refuse_other(repo, store, downloads, number, review)
        wanted = _missing(repo, store, downloads, wholes)
        for done, (name, entry) in enumerate(wanted.items(), 1):
            hub.download(name, found.commit, downloads.folder)
            _refuse_damaged(repo, downloads, name, entry)
            if on_progress:
                on_progress(done, len(wanted))
        for number, review in wholes:
            files = downloads.at(number, review).manifest(number).files
            # A revision names the tables of its build as well.
            _move(downloads, store, [name for name in files if wanted.pop(name, None)])
            _move(downloads, store, [_manifest_name(number, review)])
        shutil.rmtree(downloads.folder)
        write_card(store)
    return Pulled(folder, tuple(numbers), store.manifest(numbers[-1]))


def settings_text(pulled: Pulled, repo: str) -> str:
    """An eva.yaml that goes on from what was pulled: the settings of its last iteration, and the folder."""
    config = config_of(pulled.manifest)
    values = config.data() | {"folder": str(pulled.folder)}
    head = (
        f"# The settings of iteration {pulled.iterations[-1]} of {repo}, out of its manifest. They know nothing of a\n"
        "# machine: add devices, servers and keys, and put paths of yours where `unknown` or `./` stands.\n"
    )
    return head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=120)


def _manifest_name(number: int, revision: int) -> str:
    return f"manifests/{stem_of(number, revision)}.json"


def _refuse_foreign(store: Store) -> None:
    if not store.folder.is_dir() or store.iterations():
        return
    foreign = sorted(path.name for path in store.folder.iterdir() if path.name not in _OURS)
    if foreign:
        raise DataError(
            f"{store.folder} holds other data ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}) and no "
            "dataset of eva-data: name an empty folder with `--folder`"
        )


def _refuse_other(repo: str, store: Store, downloads: Store, number: int, revision: int) -> None:
    """Raise DataError where the folder has another iteration of that number and revision, or has changed its tables."""
    if number not in store.iterations() or revision not in store.revisions(number):
        return
    other = store.at(number, revision).manifest(number) != downloads.at(number, revision).manifest(number)
    changed = [name for name in store.changed_files(number) if (store.folder / name).exists()]
    if other or changed:
        which = f"{number} r{revision}" if revision else f"{number}"
        what = f"another iteration {which}" if other else f"iteration {number} with changes in {', '.join(changed)}"
        raise DataError(
            f"{store.folder} holds {what} than {repo} has, and is left as it is: pull into another folder with "
            "`--folder`"
        )


def _missing(repo: str, store: Store, downloads: Store, wholes: Sequence[tuple[int, int]]) -> dict[str, FileEntry]:
    """The tables that the folder lacks, with what their manifests say of them."""
    missing: dict[str, FileEntry] = {}
    for number, revision in wholes:
        files = downloads.at(number, revision).manifest(number).files
        known = re.compile(rf"({'|'.join(TABLES)})/iter_{number}(\.r[1-9]\d*)?(-\d{{5}}-of-\d{{5}})?\.parquet")
        unknown = sorted(name for name in files if not known.fullmatch(name))
        if unknown:
            # The names become paths here, and the manifest may be anybody's.
            raise DataError(
                f"the manifest of iteration {number} in {repo} names files that no dataset has: {unknown[:3]}"
            )
        # What is there under a manifest was compared with it before.
        there = {name for name in _files_of(store, number) if (store.folder / name).exists()}
        missing |= {name: files[name] for name in sorted(files) if name not in there}
    return missing


def _files_of(store: Store, number: int) -> set[str]:
    """The tables that the folder's manifests of an iteration name."""
    if number not in store.iterations():
        return set()
    return {name for each in store.revisions(number) for name in store.at(number, each).manifest(number).files}


def _refuse_damaged(repo: str, downloads: Store, name: str, entry: FileEntry) -> None:
    if sha256(downloads.folder / name) != entry.sha256:
        (downloads.folder / name).unlink()
        raise DataError(
            f"{name} of {repo} is not the file that its manifest names, by SHA-256, so nothing was put into the "
            "folder: pull again, and if that does not help, another revision"
        )


def _move(downloads: Store, store: Store, names: Sequence[str]) -> None:
    for name in names:
        place = store.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (downloads.folder / name).replace(place)
