"""Makes a ledger smaller: texts that an older version kept plain are packed, and unused space goes back to the disk.

It can be killed at any moment: texts are packed step by step, and the file is rewritten by one transaction of SQLite.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from eva_data.errors import DataError
from eva_data.files import lack_of_room
from eva_data.ledger.file import what_is_wrong
from eva_data.ledger.records import Ledger
from eva_data.ledger.texts import packed

Tell = Callable[[int, int], None]
"""Is told how much is done, and of how much."""

_ROWS_PER_STEP = 1000
"""Number of texts that are packed in one transaction."""
_BYTES_PER_LOCK = 64 * 2**20
"""About how many bytes are looked through for plain texts before another process may write again."""
_LAST = b"\xff" * 64
"""Beyond every key."""
_LOOK_SECONDS = 0.5
_PER_ROW = 4
"""Instructions of SQLite to copy a row."""
_PER_LOOK = 100_000
"""Instructions after which SQLite says that it goes on."""


def pack(ledger: Ledger, tell: Callable[[float], None] = lambda share: None) -> int:
    """Pack the texts that an older version kept plain, and return how many became shorter.

    Each step is one transaction. A process that is killed loses one step, and the next call goes on. `tell` is told the
    share that is done. Keys are hashes, so equal ranges of keys hold about equally many.
    """
    parts = max(1, min(256, used_bytes(ledger) // _BYTES_PER_LOCK))
    bounds = [bytes([part * 256 // parts]) for part in range(1, parts)]
    shorter = 0
    for number, (first, end) in enumerate(zip([b"", *bounds], [*bounds, _LAST], strict=True), 1):
        shorter += _packed_between(ledger, first, end)
        tell(number / parts)
    return shorter


def _packed_between(ledger: Ledger, first: bytes, end: bytes) -> int:
    """Pack the plain texts of the keys from `first` up to, but without, `end`."""
    shorter = 0
    while True:
        with ledger.transaction():
            found = ledger.rows(
                "SELECT key, text FROM generations WHERE key >= ? AND key < ? AND typeof(text) = 'text'"
                " ORDER BY key LIMIT ?",
                (first, end, _ROWS_PER_STEP),
            )
            rows = [row for row in ((packed(text), key) for key, text in found) if isinstance(row[0], bytes)]
            ledger.many("UPDATE generations SET text = ? WHERE key = ?", rows)
            shorter += len(rows)
        if not found:
            return shorter
        # The next key in the order of bytes.
        first = found[-1][0] + b"\0"


def vacuum(ledger: Ledger, on_progress: Tell | None = None) -> None:
    """Pack older texts, and give the space of deleted rows and of an unused index back to the disk.

    This takes as much memory as a stage. Until the end it takes as much space as the used part of the ledger beside it,
    and the same again where SQLite keeps temporary files. Raise DataError at once if there is less. Bills are never
    deleted, so their rowids have no gaps and stay as they are. `on_progress` is told (done, all) in bytes.
    """
    size = used_bytes(ledger)
    refuse_without_disk(ledger.path, size)
    tell: Tell = on_progress or (lambda done, total: None)
    pack(ledger, lambda share: tell(int(share * size), 3 * size))
    tell(size, 3 * size)
    with what_is_wrong(ledger.path):
        # Up to version 7 bills had an index.
        ledger.connection.execute("DROP INDEX IF EXISTS bills_by_stage")
        ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        for done in _rewritten(ledger, size):
            tell(size + done, 3 * size)
        ledger.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    tell(3 * size, 3 * size)


def used_bytes(ledger: Ledger) -> int:
    """What the ledger has without the pages that are free."""
    [(pages,)], [(free,)], [(size,)] = (
        ledger.rows(f"PRAGMA {name}") for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def refuse_without_disk(path: Path, size: int) -> None:
    """Raise DataError unless `size` bytes fit beside the ledger and as many where SQLite keeps temporary files."""
    aside = _temporary_folder()
    shared = aside.stat().st_dev == path.parent.stat().st_dev
    lack = lack_of_room(path.parent, 2 * size if shared else size, "`eva-data ledger vacuum`")
    if lack is None and not shared:
        lack = lack_of_room(aside, size, "`eva-data ledger vacuum` (see SQLITE_TMPDIR)")
    if lack is not None:
        raise DataError(lack)


def _temporary_folder() -> Path:
    """Where SQLite keeps temporary files (https://www.sqlite.org/tempfiles.html)."""
    named = [found for name in ("SQLITE_TMPDIR", "TMPDIR") if (found := os.environ.get(name))]
    places = (Path(name) for name in (*named, "/var/tmp", "/usr/tmp", "/tmp", "."))
    return next((place for place in places if place.is_dir() and os.access(place, os.W_OK | os.X_OK)), Path())


def _rewritten(ledger: Ledger, size: int) -> Iterator[int]:
    """Rewrite the file, and give from time to time how many of 2 x `size` bytes are written about.

    SQLite first copies the rows into a temporary file, and then that file's pages into the journal.
    """
    rows = ledger.totals()
    [(bills,)] = ledger.rows("SELECT coalesce(max(rowid), 0) FROM bills")
    instructions = _PER_ROW * (rows["generations"] + rows["rewards"] + bills) + 1
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        return 0

    connection, journal = ledger.connection, Path(f"{ledger.path}-wal")
    connection.set_progress_handler(look, _PER_LOOK)
    try:
        with ThreadPoolExecutor(1) as thread:
            work = thread.submit(connection.execute, "VACUUM")
            try:
                while wait([work], _LOOK_SECONDS).not_done:
                    copied = min(1.0, looks * _PER_LOOK / instructions)
                    written = journal.stat().st_size if journal.exists() else 0
                    yield int(copied * size) + min(size, written)
            except BaseException:
                connection.interrupt()
                raise
            work.result()
    finally:
        connection.set_progress_handler(None, 0)
