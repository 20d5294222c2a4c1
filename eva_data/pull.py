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

from eva_data.errors import DataError, HubError
from eva_data.files import sha256
from eva_data.hub import HubRepo
from eva_data.jobs import Progress
from eva_data.manifest import config_of
from eva_data.records import TABLES
from eva_data.store import Manifest, Store

_MANIFEST = re.compile(r"manifests/iter_([1-9]\d*)\.json")
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
    numbers = sorted(int(match[1]) for name in found.files if (match := _MANIFEST.fullmatch(name)))
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise DataError(
            f"{repo} holds manifests of the iterations {numbers or 'none'}, where 1, 2, ... were expected: it is no "
            "dataset that eva-data published"
        )
    with store.locked():
        downloads = Store(store.state / "pull")
        for number in numbers:
            hub.download(_manifest_name(number), found.commit, downloads.folder)
            _refuse_other(repo, store, downloads, number)
        wanted = [(number, name) for number in numbers for name in _missing(repo, store, downloads, number)]
        for done, (number, name) in enumerate(wanted, 1):
            hub.download(name, found.commit, downloads.folder)
            _refuse_damaged(repo, downloads, number, name)
            if on_progress:
                on_progress(done, len(wanted))
        for number in numbers:
            _move(downloads, store, [name for owner, name in wanted if owner == number])
            _move(downloads, store, [_manifest_name(number)])
        shutil.rmtree(downloads.folder)
        store.write_card()
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


def _manifest_name(number: int) -> str:
    return f"manifests/iter_{number}.json"


def _refuse_foreign(store: Store) -> None:
    if not store.folder.is_dir() or store.iterations():
        return
    foreign = sorted(path.name for path in store.folder.iterdir() if path.name not in _OURS)
    if foreign:
        raise DataError(
            f"{store.folder} holds other data ({', '.join(foreign[:3])}{', ...' if len(foreign) > 3 else ''}) and no "
            "dataset of eva-data: name an empty folder with `--folder`"
        )


def _refuse_other(repo: str, store: Store, downloads: Store, number: int) -> None:
    """Raise DataError where the folder has another iteration of that number, or has changed its tables."""
    if number not in store.iterations():
        return
    other = store.manifest(number) != downloads.manifest(number)
    changed = [name for name in store.changed_files(number) if (store.folder / name).exists()]
    if other or changed:
        what = f"another iteration {number}" if other else f"iteration {number} with changes in {', '.join(changed)}"
        raise DataError(
            f"{store.folder} holds {what} than {repo} has, and is left as it is: pull into another folder with "
            "`--folder`"
        )


def _missing(repo: str, store: Store, downloads: Store, number: int) -> list[str]:
    """The tables of an iteration that the folder lacks."""
    names = set(downloads.manifest(number)["files"])
    known = re.compile(rf"({'|'.join(TABLES)})/iter_{number}(-\d{{5}}-of-\d{{5}})?\.parquet")
    unknown = sorted(name for name in names if not known.fullmatch(name))
    if unknown:
        # The names become paths here, and the manifest may be anybody's.
        raise DataError(f"the manifest of iteration {number} in {repo} names files that no dataset has: {unknown[:3]}")
    return store.changed_files(number) if number in store.iterations() else sorted(names)


def _refuse_damaged(repo: str, downloads: Store, number: int, name: str) -> None:
    if sha256(downloads.folder / name) != downloads.manifest(number)["files"][name]["sha256"]:
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
