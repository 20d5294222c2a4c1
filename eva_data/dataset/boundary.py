"""Guards the border of a dataset's folder: no link leads out of it, and only its owner can read its working state.

A folder may come from anywhere: an archive, a clone, a shared disk. Whoever prepared it could place a link in it that
leads elsewhere, so that other files are read, published or overwritten.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from eva_data.errors import DataError

OWNER_ALONE = 0o700
"""Mode of a folder that only its owner may enter."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def refuse_links_out(folder: Path) -> None:
    """Raise DataError if a link below a dataset's folder leads out of it. The folder itself may be a link."""
    home = folder.resolve()
    for path in _links(home):
        target = path.resolve()
        if not target.is_relative_to(home):
            raise DataError(
                f"{folder / path.relative_to(home)} is a link that leads out of the dataset's folder, to {target}, and "
                "nothing is read or written through it: put a real file or folder in its place, or use `folder` and "
                "`ledger` in eva.yaml to have things elsewhere"
            )


def _links(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, followlinks=False):
        yield from (path for name in (*folders, *files) if (path := Path(parent, name)).is_symlink())


def own_folder(folder: Path) -> Path:
    """Make a folder, if it is missing, that only its owner may enter, and close its content to others too."""
    folder.mkdir(parents=True, exist_ok=True, mode=OWNER_ALONE)
    for path in (folder, *folder.rglob("*")):
        close_to_others(path)
    return folder


def close_to_others(path: Path) -> None:
    """Take all permissions of group and others from a file or folder of this user; a link stays as it is."""
    status = path.lstat()
    if status.st_mode & _OTHERS and not stat.S_ISLNK(status.st_mode) and status.st_uid == os.geteuid():
        path.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS)
