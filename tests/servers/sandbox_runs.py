"""Builds of the sandbox at a size for tests, through the real command line in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import psutil

from eva_data.dataset.store import Store
from eva_data.ledger import Ledger
from eva_data.tables.schemas import TABLES

SMALL = (
    *("--set", "seeds.sandbox=24", "--set", "solver.responses=3", "--set", "solver.max_tokens=24"),
    *("--set", "solver.batch_size=16", "--set", "solver.threads=1", "--set", "train.heldout=3"),
    *("--set", "pair.min_chosen=null"),
)
"""Settings that make a sandbox build take about a minute."""


def command(folder: Path, *arguments: str, settings: Sequence[str] = SMALL) -> list[str]:
    """The command line of `eva-data` on a dataset folder."""
    return [sys.executable, "-m", "eva_data.cli", *arguments, *settings, "--set", f"folder={folder}"]


def eva(folder: Path, *arguments: str, settings: Sequence[str] = SMALL) -> subprocess.CompletedProcess[str]:
    """Run it to its end, from a folder that has no eva.yaml."""
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
    """SHA-256 of every table of every iteration, from the manifests."""
    store = Store(folder)
    assert all(store.changed_files(iteration) == [] for iteration in store.iterations())
    return {
        name: entry.sha256
        for iteration in store.iterations()
        for name, entry in store.manifest(iteration).files.items()
    }


def totals(folder: Path) -> dict[str, int]:
    """What the ledger counts."""
    with Ledger(folder / ".eva" / "ledger.sqlite") as ledger:
        return ledger.totals()


def tables(folder: Path, iteration: int) -> dict[str, pl.DataFrame]:
    """All tables of an iteration."""
    return {name: Store(folder).scan(name, iteration).collect() for name in TABLES}


def processes_of(folder: Path) -> list[psutil.Process]:
    """Live processes that name the dataset folder on their command line."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(process)
    return found


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence on standard error, after the lines that say which settings are used and how far it is."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    *before, last = done.stderr.strip().splitlines()
    assert all(line.startswith(("No eva.yaml here", "pull")) for line in before), done.stderr
    assert last.startswith("Error: ")
    return last
