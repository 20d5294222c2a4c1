"""Remembers the hashes of files, so that a file is read for its hash once and not by every command.

For every file that was hashed, `.eva/checked.json` holds its size, times and inode, and the SHA-256. Whoever changes a
file changes its ctime, which no program can set. The memory belongs to this machine: it is never published, and only
its owner can read it. If it is missing or unreadable, or cannot be written, files are hashed anew.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from eva_data.files import replacing, sha256

_TICK = 20_000_000
"""Nanoseconds within which a second change may leave a file's times as they are: file systems have coarse clocks."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    stat: tuple[int, int, int, int, int]
    """Device, inode, size, mtime and ctime in nanoseconds."""
    sha256: str


_ENTRIES = TypeAdapter(dict[str, _Entry])


@dataclass
class Checked:
    """The remembered hashes of one dataset folder."""

    path: Path
    _known: dict[str, _Entry] = field(default_factory=dict)
    _new: dict[str, _Entry] = field(default_factory=dict)

    def sha256(self, file: Path) -> str:
        """The SHA-256 of a file. The file is read only if its hash is not known for its present state.

        Raise OSError if the file cannot be read.
        """
        name, now = _name(file), _stat(file)
        known = self._known.get(name)
        if known is not None and known.stat == now:
            return known.sha256
        found = sha256(file)
        # A file that changed while it was read, or may change again in the same tick of the clock, is not remembered.
        if time.time_ns() - now[-1] > _TICK and _stat(file) == now:
            self._known[name] = self._new[name] = _Entry(stat=now, sha256=found)
        return found


@contextmanager
def remembered(path: Path) -> Iterator[Checked]:
    """Open the memory of a folder. It is written back at the end if a hash was added."""
    checked = Checked(path, _read(path))
    try:
        yield checked
    finally:
        if checked._new:
            _write(path, checked._new)


def _name(file: Path) -> str:
    return str(file.absolute())


def _stat(file: Path) -> tuple[int, int, int, int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: Path) -> dict[str, _Entry]:
    try:
        return _ENTRIES.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return {}


def _write(path: Path, new: Mapping[str, _Entry]) -> None:
    """Add entries to the file as it is now (another command may have changed it), and leave out files that are gone."""
    entries = {name: entry for name, entry in (_read(path) | dict(new)).items() if os.path.exists(name)}
    text = json.dumps({name: entry.model_dump(mode="json") for name, entry in sorted(entries.items())}, indent=0)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding="utf-8")
    except OSError:
        # In a folder that can only be read, files are hashed anew each time.
        return
