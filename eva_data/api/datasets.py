"""Datasets: build, load and verify them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from eva_data.api.reporting import Logged
from eva_data.config import Config
from eva_data.config.reading import load_config, parse_config
from eva_data.dataset.boundary import refuse_links_out
from eva_data.dataset.manifest import Manifest
from eva_data.dataset.store import Store
from eva_data.errors import ConfigError, DataError
from eva_data.game.play import play
from eva_data.hub.pull import pull
from eva_data.hub.verify import Verified, verify_iteration, verify_published
from eva_data.iteration.run import Run
from eva_data.tables.schemas import TABLES

CACHE = Path("~/.cache/eva-data/datasets")
"""Where `load` keeps published datasets, by owner, name and revision."""


@dataclass(frozen=True)
class EvaDataset:
    """A dataset of eva-data: iterations of prompts, responses and pairs in a folder."""

    folder: Path

    @property
    def iterations(self) -> list[int]:
        """The finished iterations, ascending."""
        return Store(self.folder).iterations()

    def pairs(self, iteration: int | None = None) -> pl.LazyFrame:
        """The preference pairs of an iteration, or of all, as TRL trains on them; their columns are in docs/tables.md.

        Raise the errors of `table`.
        """
        return self.table("preferences", iteration)

    def table(self, name: str, iteration: int | None = None) -> pl.LazyFrame:
        """A table of an iteration, or of all: preferences, prompts, evolutions, informativeness, responses, rejects,
        reviews or topics.

        Raise ConfigError if there is no such table, StaleError if there is no such iteration, and DataError if a file
        is missing or was changed.
        """
        if name not in TABLES:
            raise ConfigError(f"there is no table `{name}`: expected one of {', '.join(TABLES)}")
        store = Store(self.folder)
        if iteration is not None:
            return store.scan(name, iteration)
        return store.scan_until(name, max(store.iterations()))

    def manifest(self, iteration: int) -> Manifest:
        """Settings, models, counts and hashes of an iteration. Raise StaleError if there is no such iteration."""
        return Store(self.folder).manifest(iteration)


def build(
    config: str | Path | Mapping[str, Any] | Config | None = None,
    iteration: int = 1,
    *,
    overrides: Sequence[str] = (),
    solver: str | None = None,
    budget: float | None = None,
    only: bool = False,
) -> EvaDataset:
    """Build an iteration and everything missing that it needs, as `eva-data build` does, and return the dataset.

    `config` is the path of an eva.yaml, its content as a dict, or a Config; None takes eva.yaml of this folder, or else
    the sandbox. `overrides` are `key=value`, such as `sample.fraction=0.5`, and go with a path. `solver`, `budget` (in
    dollars) and `only` are the options of the command. A repeated call asks, and pays, for nothing twice. Progress
    goes to the logger `eva_data`, at level INFO.

    Raise the errors of `eva_data.errors`, each with a sentence that says what to do.
    """
    run = Run(_config(config, overrides), Logged(), solver, budget)
    refuse_links_out(run.config.folder)
    play(run, iteration, only=only, train_last=False)
    return EvaDataset(run.config.folder)


def _config(config: str | Path | Mapping[str, Any] | Config | None, overrides: Sequence[str]) -> Config:
    if config is None and Path("eva.yaml").exists():
        config = "eva.yaml"
    if config is None or isinstance(config, str | Path):
        return load_config(None if config is None else Path(config), overrides)
    if overrides:
        raise ConfigError("`overrides` go with the path of an eva.yaml: write these keys into the settings themselves")
    return config if isinstance(config, Config) else parse_config(config, "the settings")


def load(source: str | Path, *, revision: str | None = None, max_gb: float = 10.0) -> EvaDataset:
    """A dataset in a folder, or on the Hub as `owner/name`.

    A published dataset is downloaded to `~/.cache/eva-data/datasets` and compared with its manifests; what is there is
    not downloaded again. `revision` is a tag such as `iter-2`, a branch or a commit; None is the newest. `max_gb`
    bounds the download. Nothing that the dataset's settings name is used.

    Raise DataError if a folder holds no dataset, and the errors of `eva-data pull`.
    """
    folder = Path(source)
    if folder.is_dir():
        if not Store(folder).iterations():
            raise DataError(f"{folder} holds no iteration of eva-data: name the folder in which `manifests` is")
        refuse_links_out(folder)
        return EvaDataset(folder)
    repo = _repo(source)
    kept = CACHE.expanduser() / repo / (revision or "main")
    kept.mkdir(parents=True, exist_ok=True)
    return EvaDataset(pull(repo, kept, revision=revision, max_gb=max_gb).folder)


def verify(source: str | Path, iteration: int | None = None, *, revision: str | None = None) -> Verified:
    """Compute again what follows from the tables of an iteration, and compare, as `eva-data verify` does.

    `source` is a folder or `owner/name` on the Hub; `iteration` is the newest by default. The result has `problems`,
    which is empty if all is well, and `unknown`, what could not be checked; both are sentences. No function or model
    that the dataset names is used.

    Raise StaleError if there is no such iteration, and the errors of `eva-data pull`.
    """
    folder = Path(source)
    if folder.is_dir():
        store = Store(load(folder).folder)
        return verify_iteration(store, iteration or store.iterations()[-1])
    repo = _repo(source)
    if iteration is None:
        with TemporaryDirectory() as aside:
            iteration = pull(repo, Path(aside), revision=revision, dry_run=True).iterations[-1]
    return verify_published(repo, iteration, revision)


def _repo(source: str | Path) -> str:
    owner, slash, name = str(source).partition("/")
    if isinstance(source, Path) or not (owner and slash and name) or "/" in name or owner in (".", "..", "~"):
        raise DataError(f"there is no folder {source}: name a dataset's folder, or a dataset on the Hub as owner/name")
    return f"{owner}/{name}"
