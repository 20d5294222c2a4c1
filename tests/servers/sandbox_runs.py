"""Small builds of the sandbox for tests, by the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import polars as pl
import psutil
from click.testing import CliRunner

from eva_data.cli import main
from eva_data.config.reading import CARELESS_CONFIG
from eva_data.dataset.store import Store
from eva_data.ledger import Ledger
from eva_data.tables.schemas import TABLES

SMALL = (
    *("--set", "seeds.sandbox=24", "--set", "solver.responses=3", "--set", "solver.max_tokens=24"),
    *("--set", "solver.batch_size=16", "--set", "solver.threads=1", "--set", "train.heldout=3"),
    *("--set", "pair.min_chosen=null", "--set", "solver.temperature=1.5"),
)
"""Settings for a sandbox build of about a minute, with pairs for about two of three prompts.

At temperature 1, the model repeats itself: there would be five pairs, then ten, and fewer on another processor.
"""


def _line(folder: Path, arguments: Sequence[str], settings: Sequence[str]) -> list[str]:
    """The arguments. Without a `--config`, they play in the world `careless`, whose one model plays both parts.

    A relative folder belongs to a project with an eva.yaml of its own, and so does one beside an eva.yaml.
    """
    own = "--config" in (*arguments, *settings) or not folder.is_absolute() or (folder.parent / "eva.yaml").exists()
    config = () if own else ("--config", str(CARELESS_CONFIG))
    return [*arguments, *config, *settings, "--set", f"folder={folder}"]


def command(folder: Path, *arguments: str, settings: Sequence[str] = SMALL) -> list[str]:
    """The command line of `eva-data` on a dataset folder."""
    return [sys.executable, "-m", "eva_data.cli", *_line(folder, arguments, settings)]


def eva(folder: Path, *arguments: str, settings: Sequence[str] = SMALL) -> subprocess.CompletedProcess[str]:
    """Run `eva-data` to its end in this process, from a folder without an eva.yaml.

    Its jobs are processes as ever, but the libraries that they need are imported once for all commands of this process.
    """
    line = _line(folder, arguments, settings)
    # Pytest changes this variable in every test, and jobs share imports only where they share an environment.
    with chdir(folder.parent):
        done = CliRunner(env={"COLUMNS": "160", "PYTEST_CURRENT_TEST": None}).invoke(main, line)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return subprocess.CompletedProcess(line, done.exit_code, done.stdout, done.stderr)


def eva_apart(folder: Path, *arguments: str, settings: Sequence[str] = SMALL) -> subprocess.CompletedProcess[str]:
    """Run `eva-data` to its end in a process of its own, as a user does, from a folder without an eva.yaml."""
    return subprocess.run(
        command(folder, *arguments, settings=settings),
        cwd=folder.parent,
        env=os.environ | {"COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def hashes(folder: Path) -> dict[str, str]:
    """File -> SHA-256, for every table of every iteration, from the manifests."""
    store = Store(folder)
    assert all(store.changed_files(iteration) == [] for iteration in store.iterations())
    return {
        name: entry.sha256
        for iteration in store.iterations()
        for name, entry in store.manifest(iteration).files.items()
    }


def totals(folder: Path) -> dict[str, int]:
    """The totals of the ledger."""
    with Ledger(folder / ".eva" / "ledger.sqlite") as ledger:
        return ledger.totals()


def tables(folder: Path, iteration: int) -> dict[str, pl.DataFrame]:
    """Name -> table, for all tables of an iteration."""
    return {name: Store(folder).scan(name, iteration).collect() for name in TABLES}


def processes_of(folder: Path) -> list[psutil.Process]:
    """Live processes with the dataset folder on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(process)
    return found


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The only sentence on standard error, after the lines about the settings and the progress."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    *before, last = done.stderr.strip().splitlines()
    assert all(line.startswith(("No eva.yaml here", "pull")) for line in before), done.stderr
    assert last.startswith("Error: ")
    return last
