"""One build at work: its config, its folder, the models that play, and who wants to hear how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import polars as pl

from eva_data.config import Config, TransformersModel, Verifier
from eva_data.errors import ConfigError
from eva_data.jobs import Job, Kind, Progress
from eva_data.models import ResolvedModel, resolve
from eva_data.store import Store


class Reporter(Protocol):
    """Told what happens; the library itself never prints."""

    def stage(self, name: str, iteration: int) -> Progress:
        """A stage begins; the returned callable is told (done, total)."""

    def note(self, text: str) -> None:
        """Something the user should know."""


@dataclass(frozen=True)
class Run:
    """What every stage of a build needs."""

    config: Config
    reporter: Reporter
    solver_override: str | None = None
    """`--solver`: a folder or Hub id that answers instead of the trained or configured model."""
    notes: list[str] = field(default_factory=list)

    @cached_property
    def store(self) -> Store:
        return Store(self.config.folder)

    @property
    def ledger(self) -> Path:
        return self.config.ledger or self.store.state / "ledger.sqlite"

    @cached_property
    def verifier_fingerprint(self) -> str:
        from eva_data.reward import fingerprint

        return fingerprint(self.verifier.function, self.verifier.version)

    @property
    def verifier(self) -> Verifier:
        if self.config.reward is None:
            raise ConfigError("`reward` is missing: name what scores a response, for example a verifier")
        return self.config.reward

    def job(self, kind: Kind, iteration: int, name: str, **fields: object) -> Job:
        """A job of this run, in its own folder."""
        return Job(self.store.job_folder(iteration, name).resolve(), kind, ledger=self.ledger.resolve(), **fields)  # type: ignore[arg-type]

    def work(self, job: Job, rows: pl.DataFrame, iteration: int, name: str) -> list[tuple[dict[str, object], object]]:
        """Do a job, telling the reporter."""
        from eva_data.jobs import run_job

        return run_job(
            job,
            rows,
            log=self.store.log(f"{name}-iter_{iteration}"),
            stalled_seconds=self.config.stalled_minutes * 60,
            progress=self.reporter.stage(name, iteration),
        )

    def note(self, text: str) -> None:
        """Tell the user, and keep it for the manifest."""
        self.notes.append(text)
        self.reporter.note(text)


@dataclass(frozen=True)
class Player:
    """A model that plays: how it is configured and what it is."""

    block: TransformersModel
    model: ResolvedModel


def solver_of(run: Run, iteration: int) -> Player:
    """Who answers in `iteration`: `--solver`, else the trained theta_{t-1}, else the configured model."""
    block = run.config.model_solver
    if block is None:
        raise ConfigError(
            "`solver` is a table of responses, which can make iteration 1 only: to evolve from there, name the model "
            "that answers from iteration 2 on, `solver.then: {backend: transformers, model: ...}`"
        )
    trained = run.store.solver_folder(iteration - 1)
    if run.solver_override is not None:
        block = block.model_copy(update={"model": run.solver_override, "revision": None})
    elif trained.exists():
        block = block.model_copy(update={"model": str(trained), "revision": None})
    return Player(block, resolve(block))


def creator_of(run: Run, solver: Player) -> Player:
    """Who rewrites prompts: the solver itself where the creator is shared."""
    if run.config.creator == "shared":
        return solver
    return Player(run.config.creator, resolve(run.config.creator))
