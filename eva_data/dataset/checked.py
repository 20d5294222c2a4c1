"""Hashes of files, remembered by their stat, so that a file is read for its hash once and not by every command.

`.eva/checked.json` holds of every file that was hashed its size, times and inode, and the SHA-256 that belongs to them.
Whoever changes a file changes its ctime, which no program can set. The memory is this machine's own: it is never
published, its owner's alone, and where it is missing, unreadable or cannot be written, files are hashed anew.
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
"""Nanoseconds in which a second change of a file may leave its times as they are: clocks of file systems are coarse."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    stat: tuple[int, int, int, int, int]
    """Device, inode, size, mtime and ctime in nanoseconds."""
    sha256: str


_ENTRIES = TypeAdapter(dict[str, _Entry])


@dataclass
class Checked:
    """The hashes that one dataset folder remembers."""

    path: Path
    _known: dict[str, _Entry] = field(default_factory=dict)
    _new: dict[str, _Entry] = field(default_factory=dict)

    def sha256(self, file: Path) -> str:
        """The SHA-256 of a file, read only where it is not known for the file as it is now.

        Raises OSError where the file cannot be read.
        """
        name, now = _name(file), _stat(file)
        known = self._known.get(name)
        if known is not None and known.stat == now:
            return known.sha256
        found = sha256(file)
        # What changed while it was read, or may change again within the same tick of the clock, is not remembered.
        if time.time_ns() - now[-1] > _TICK and _stat(file) == now:
            self._known[name] = self._new[name] = _Entry(stat=now, sha256=found)
        return found


@contextmanager
def remembered(path: Path) -> Iterator[Checked]:
    """What a folder remembers, written back at the end if something was learnt."""
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
    """Add to what is there now, which another command may have written meanwhile; files that are gone are left out."""
    entries = {name: entry for name, entry in (_read(path) | dict(new)).items() if os.path.exists(name)}
    text = json.dumps({name: entry.model_dump(mode="json") for name, entry in sorted(entries.items())}, indent=0)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(text, encoding="utf-8")
    except OSError:
        # A folder that can only be read is checked anew each time.
        return
