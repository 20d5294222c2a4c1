"""One build at work: its config, its folder, its servers, and who wants to hear how far it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import polars as pl

from eva_data.config import Config, RewardServer, VllmModel
from eva_data.dataset.store import Store
from eva_data.jobs.job import Job, Kind, Progress
from eva_data.models.vllm.command import SERVED_NAME
from eva_data.models.vllm.server import Servers

if TYPE_CHECKING:
    from eva_data.rewards.scorers import Scorer


class Reporter(Protocol):
    """Told what happens; the library itself never prints."""

    def stage(self, name: str, iteration: int) -> Progress:
        """A stage begins; the returned callable is told (done, total)."""

    def waiting(self, name: str) -> Callable[[float, str], None]:
        """Something will take a while; the returned callable is told (seconds so far, what was heard last)."""

    def note(self, text: str) -> None:
        """Something the user should know."""


@dataclass(frozen=True)
class Run:
    """What every stage of a build needs."""

    config: Config
    reporter: Reporter
    solver_override: str | None = None
    """`--solver`: a folder or Hub id that answers instead of the trained or configured model."""
    budget: float | None = None
    """`--budget`: the most dollars that the ledger may hold in all."""
    notes: list[str] = field(default_factory=list)
    reward_scales: dict[str, list[float]] = field(default_factory=dict)
    """Mean and deviation of each of several rewards; set by the first iteration that has them."""

    @cached_property
    def store(self) -> Store:
        return Store(self.config.folder)

    @property
    def ledger(self) -> Path:
        return self.config.ledger or self.store.state / "ledger.sqlite"

    @cached_property
    def servers(self) -> Servers:
        """What is started for this run; whoever plays stops it."""
        waiting = self.reporter.waiting("vLLM starts")
        return Servers(on_wait=waiting)

    @cached_property
    def scorers(self) -> tuple[Scorer, ...]:
        """What scores responses, resolved once."""
        from eva_data.rewards.scorers import scorers_of

        return scorers_of(self.config.reward)

    def job(self, kind: Kind, iteration: int, name: str, **fields: object) -> Job:
        """A job of this run, in its own folder."""
        folder = self.store.job_folder(iteration, name).resolve()
        model = fields.get("model")
        # A server waits for the slowest request of every shard, so there are few of them.
        shard_rows = 20_000 if isinstance(model, dict) and model["backend"] == "remote" else 5_000
        return Job(folder, kind, ledger=self.ledger.resolve(), shard_rows=shard_rows, **fields)  # type: ignore[arg-type]

    def work(self, job: Job, rows: pl.DataFrame, iteration: int, name: str) -> list[tuple[dict[str, object], object]]:
        """Do a job, telling the reporter."""
        from eva_data.jobs.job import run_job

        return run_job(
            job,
            rows,
            log=self.store.log(f"{name}-iter_{iteration}"),
            stalled_seconds=self.config.stalled_minutes * 60,
            progress=self.reporter.stage(name, iteration),
            check=self.servers.check,
        )

    def served(
        self, block: VllmModel | RewardServer, path: Path | None, job: Job, rows: pl.DataFrame, *, key: str
    ) -> str:
        """URL of the server of a job's model, started unless it runs; empty where the job is done already.

        `key` is the block's place in the settings, for error messages.
        """
        from eva_data.jobs.job import is_done

        if is_done(job, rows):
            return ""
        assert path is not None
        log = self.store.log(f"server-{job.kind}")
        return self.servers.url_of(block, path, SERVED_NAME, log=log, key=key)

    def note(self, text: str) -> None:
        """Tell the user, and keep it for the manifest."""
        self.notes.append(text)
        self.reporter.note(text)
