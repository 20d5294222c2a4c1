"""Opens the ledger's file. It is created whole and upgraded in one transaction, and only its owner can read it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from eva_data.errors import DataError

VERSION = 8
"""Versions 1 and 2 had no claims and no owners, 3 neither likelihoods nor designs, 4 no imports; their rows stay.

Up to version 5 texts were plain. They stay so until `vacuum` packs them, and readers take both forms. Up to version 6
rows were not counted as they came; they are counted when their number is first asked for. Up to version 7 bills were
not summed up; they are summed up when a sum is first asked for.
"""

COUNTS = ("generations", "rewards", "repeated", "prompt_tokens", "completion_tokens")
"""The columns of `counts`."""


def _triggers() -> Iterator[str]:
    """What keeps the second row of `counts`."""
    changes = {"INSERT": [("new", "+")], "DELETE": [("old", "-")], "UPDATE": [("new", "+"), ("old", "-")]}
    for event, rows in changes.items():
        for table, tokens in (("generations", ("prompt_tokens", "completion_tokens")), ("rewards", ())):
            terms = {name: [f"{sign} coalesce({row}.{name}, 0)" for row, sign in rows] for name in tokens}
            terms["repeated"] = [f"{sign} ({row}.times - 1)" for row, sign in rows]
            terms[table] = [f"{sign} 1" for _, sign in rows]
            changed = ", ".join(f"{name} = {name} {' '.join(each)}" for name, each in terms.items())
            columns = f" OF {', '.join(('times', *tokens))}" if event == "UPDATE" else ""
            yield (
                f"CREATE TRIGGER IF NOT EXISTS {table}_{event.lower()} AFTER {event}{columns} ON {table}"
                f" BEGIN UPDATE counts SET {changed} WHERE part = 1; END"
            )


_SCHEMA = (
    # The text is as `texts.packed` makes it: a BLOB, or a TEXT where that is shorter.
    """CREATE TABLE IF NOT EXISTS generations (
        key BLOB PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL,
        prompt_tokens INTEGER, completion_tokens INTEGER, times INTEGER NOT NULL DEFAULT 1
    ) WITHOUT ROWID""",
    # The likeliest first tokens of a generation with their log-probabilities, as JSON, where they were asked for.
    "CREATE TABLE IF NOT EXISTS likelihoods (key BLOB PRIMARY KEY, tokens TEXT NOT NULL) WITHOUT ROWID",
    # SQLite stores NaN as NULL, so an unusable reward is NULL with its reason beside it.
    """CREATE TABLE IF NOT EXISTS rewards (
        key BLOB PRIMARY KEY, reward REAL, reason TEXT, times INTEGER NOT NULL DEFAULT 1
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS bills (
        model TEXT NOT NULL, stage TEXT NOT NULL, iteration INTEGER NOT NULL, completions INTEGER NOT NULL,
        prompt_tokens INTEGER, completion_tokens INTEGER, seconds REAL NOT NULL, cost REAL
    )""",
    # The sums of all bills up to the largest `last_bill`, a rowid. Bills are only ever added, so these sums stay true.
    """CREATE TABLE IF NOT EXISTS bill_sums (
        iteration INTEGER NOT NULL, stage TEXT NOT NULL, model TEXT NOT NULL, replies INTEGER NOT NULL,
        completions INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
        seconds REAL NOT NULL, cost REAL NOT NULL, unpriced INTEGER NOT NULL, last_bill INTEGER NOT NULL,
        PRIMARY KEY (iteration, stage, model)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS canaries (
        model TEXT NOT NULL, probe TEXT NOT NULL, answers TEXT NOT NULL, PRIMARY KEY (model, probe)
    ) WITHOUT ROWID""",
    # Calls under way: which job makes which call, and the most that the job's open requests can cost.
    "CREATE TABLE IF NOT EXISTS claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS owners (
        owner TEXT PRIMARY KEY, machine TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL,
        beat INTEGER NOT NULL, reserved REAL NOT NULL,
        model TEXT NOT NULL, stage TEXT NOT NULL, iteration INTEGER NOT NULL
    ) WITHOUT ROWID""",
    # What was fixed before an experiment began: its hash cannot be changed after the results are known.
    """CREATE TABLE IF NOT EXISTS designs (
        name TEXT NOT NULL, sha256 TEXT NOT NULL, text TEXT NOT NULL, PRIMARY KEY (name, sha256)
    ) WITHOUT ROWID""",
    # Segments of other ledgers that are in this one, each with the rowids of its bills.
    """CREATE TABLE IF NOT EXISTS imports (
        sha256 TEXT PRIMARY KEY, first_bill INTEGER, last_bill INTEGER
    ) WITHOUT ROWID""",
    # Part 1 counts the rows since this table is there, and part 0 those that were there before, once they are counted.
    # To count the rows themselves, one would read the whole file.
    "CREATE TABLE IF NOT EXISTS counts (part INTEGER PRIMARY KEY, "
    f"{', '.join(f'{name} INTEGER NOT NULL' for name in COUNTS)})",
    "INSERT OR IGNORE INTO counts VALUES (1, 0, 0, 0, 0, 0)",
    """INSERT OR IGNORE INTO counts SELECT 0, 0, 0, 0, 0, 0
        WHERE NOT EXISTS (SELECT 1 FROM generations) AND NOT EXISTS (SELECT 1 FROM rewards)""",
    *_triggers(),
    "CREATE TABLE IF NOT EXISTS identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL)",
    "INSERT OR IGNORE INTO identity VALUES (1, lower(hex(randomblob(16))))",
)

_OWNER_ALONE = 0o600
_WAY_OUT = (
    "it holds every call that was finished and paid for, so bring it back from a copy; without one, move it away, "
    "and the same command asks for everything anew"
)
_TROUBLE = {
    sqlite3.SQLITE_CORRUPT: f"is damaged ({{error}}): {_WAY_OUT}",
    sqlite3.SQLITE_NOTADB: f"is no SQLite database ({{error}}): {_WAY_OUT}",
    sqlite3.SQLITE_BUSY: "has been locked by another process for a minute: end it, or wait, and run the command again",
    sqlite3.SQLITE_FULL: "cannot grow, the disk is full: make room and run the same command again; nothing is lost",
    sqlite3.SQLITE_READONLY: "cannot be written to: give its file and folder back to the user who runs eva-data",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: it and its folder must be readable and writable for this user",
    sqlite3.SQLITE_IOERR: "cannot be read or written ({error}): look at the disk, then run the same command again",
}


def connect(path: Path) -> sqlite3.Connection:
    """Open a ledger of the present version. A missing file is created, and an older file is upgraded in place.

    Raise DataError if the file is damaged, empty, of a newer version, or out of reach.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with what_is_wrong(path):
        if not path.exists():
            _make(path)
        if path.stat().st_size == 0:
            raise DataError(f"the ledger {path} is empty, 0 bytes, which no ledger ever is: {_WAY_OUT}")
        _hide(path)
        connection = _open(path)
        try:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found > VERSION:
                raise DataError(
                    f"the ledger {path} is of version {found}, this eva-data reads up to {VERSION}: update eva-data"
                )
            if found < VERSION:
                _upgrade(connection)
            # These queries notice a truncated file here rather than in the middle of a stage.
            connection.execute("SELECT (SELECT max(rowid) FROM bills), (SELECT max(key) FROM generations)").fetchone()
        except BaseException:
            connection.close()
            raise
    return connection


@contextmanager
def what_is_wrong(path: Path) -> Iterator[None]:
    """Turn the errors of SQLite that a user can mend into a DataError of one sentence."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The lower byte is the kind of error; the other bits are details.
        code = error.sqlite_errorcode if hasattr(error, "sqlite_errorcode") else 0
        # SQLite makes room for the index of its journal, and calls it an error of input and output if there is none.
        kind = sqlite3.SQLITE_FULL if code == sqlite3.SQLITE_IOERR_SHMSIZE else code & 0xFF
        sentence = _TROUBLE.get(kind)
        if sentence is None:
            raise
        raise DataError(f"the ledger {path} {sentence.format(error=error)}") from error
    except PermissionError as error:
        raise DataError(f"the ledger {path} {_TROUBLE[sqlite3.SQLITE_CANTOPEN]} ({error.strerror})") from error


def _open(path: Path) -> sqlite3.Connection:
    # A ledger is opened by one thread and used by another one, never by two at once.
    connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    # A commit must survive the process, and WAL ensures that. A power cut may lose the last commits, which costs calls.
    connection.execute("PRAGMA synchronous=NORMAL")
    # Keys are hashes, so every completion of a large ledger lies in another page. With the small journal and cache that
    # SQLite takes by default, most pages are written and flushed once for each of their rows.
    connection.execute("PRAGMA wal_autocheckpoint=16384")
    connection.execute("PRAGMA cache_size=-65536")
    return connection


def _make(path: Path) -> None:
    """Create the file under another name first, so that no process sees half of it: an empty file counts as damaged."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    os.close(os.open(new, os.O_CREAT | os.O_RDWR | os.O_TRUNC, _OWNER_ALONE))
    try:
        with closing(_open(new)) as connection:
            _upgrade(connection)
            # To close a connection moves the journal into the file as well, but says nothing if the disk is full.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        try:
            os.link(new, path)
        except FileExistsError:
            # Another process has created it first.
            pass
        except OSError:
            # The file system has no links. Rename the file, unless another process has just created it.
            if not path.exists():
                new.rename(path)
    finally:
        for name in (new, Path(f"{new}-wal"), Path(f"{new}-shm")):
            name.unlink(missing_ok=True)


def _upgrade(connection: sqlite3.Connection) -> None:
    """Add the tables of the present version in one transaction; a process that is killed meanwhile changes nothing."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _hide(path: Path) -> None:
    """Close the file and its journals to everyone but their owner; SQLite gives new journals the file's mode."""
    for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        # The last process that closes the ledger removes the journals, perhaps just now. Other users' files stay.
        with suppress(FileNotFoundError, PermissionError):
            if file.stat().st_mode & 0o077:
                file.chmod(_OWNER_ALONE)
