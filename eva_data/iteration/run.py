"""A build at work: its config, its folder, its servers, and the reporter of its progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from eva_data.calls import StageProgress
from eva_data.config import Config, Evolve, Generation, LocalReward, RewardServer, VllmModel
from eva_data.config.base import Settings
from eva_data.config.machines.computing import RayEngine
from eva_data.config.machines.launching import ONE_SERVER
from eva_data.config.marks import key_variables, own_functions
from eva_data.dataset.staleness import settled
from eva_data.dataset.store import Store
from eva_data.jobs.job import Function, Job, Kind, is_done, name_of, run_job
from eva_data.jobs.results import ForJob, Results
from eva_data.models.player import Player, backend_of, connection, kept_fields, llm_fields
from eva_data.models.vllm.command import SERVED_NAME
from eva_data.models.vllm.fleet import Servers
from eva_data.own_code import only
from eva_data.rewards import iter_scores
from eva_data.rewards.scorers import Scorer, scorers_of
from eva_data.secrets import watch

SHARD_ROWS = 5_000
"""Rows of a shard. The results of a few shards are in memory at once, in each process that they pass through."""


class Reporter(Protocol):
    """Is told what happens, since the library itself never prints."""

    def foresee(self, stages: Sequence[tuple[str, int]]) -> None:
        """The names and iterations of the stages ahead, in order. Others may come between them."""

    def stage(self, name: str, iteration: int) -> StageProgress:
        """A stage begins. The returned callable is told (done, total)."""

    def waiting(self, name: str) -> Callable[[float, str], None]:
        """Something will take a while. The returned callable is told (seconds so far, last message)."""

    def note(self, text: str) -> None:
        """Something the user should know."""


@dataclass(frozen=True)
class Run:
    """Everything that the stages of a build share."""

    config: Config
    reporter: Reporter
    solver_override: str | None = None
    """`--solver`: a folder or Hub id that answers instead of the trained or configured model."""
    budget: float | None = None
    """`--budget`: the most dollars that all calls in the ledger may cost."""
    undecided: bool = False
    """Whether the settings are those of a pulled manifest, to which nobody has agreed. What they name is not used."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "config", settled(self.config, self.store))
        watch(key_variables(self.config))

    @cached_property
    def store(self) -> Store:
        return Store(self.config.folder)

    @property
    def ledger(self) -> Path:
        return self.config.ledger or self.store.state / "ledger.sqlite"

    @cached_property
    def servers(self) -> Servers:
        """The servers that are started for this run. The caller of the run stops them."""
        waiting = self.reporter.waiting("vLLM starts")
        launching = self.config.servers or ONE_SERVER
        folder = self.store.state / "servers"
        return Servers(folder, launching, on_wait=waiting, on_note=self.reporter.note)

    @cached_property
    def scorers(self) -> tuple[Scorer, ...]:
        """The rewards of the config, looked up once."""
        with only(() if self.undecided else own_functions(self.config)):
            return scorers_of(self.config.reward)

    def ask(
        self,
        player: Player,
        kind: Kind,
        rows: ForJob,
        *,
        iteration: int,
        stage: str,
        settings: Settings | None,
        key: str,
        sampling: Generation | Evolve | None = None,
        folder: str | None = None,
        shown: str | None = None,
        framed: bool = False,
        guide: Mapping[str, Any] | None = None,
        likeliest: int = 0,
        function: Function | None = None,
        kept: bool = False,
        **overrides: Any,
    ) -> Results:
        """Ask a player about every row, in a process of its own. Its server is started if it needs one.

        The pipeline `kind`, or `function` in its place, works by `settings`. `sampling` says how the player samples;
        the default is the player's own block. `overrides` changes single parameters. `stage` is the name under which
        the ledger bills the calls, `folder` the name of the job's folder, and `shown` the name that the user reads; the
        last two are `stage` by default. `key` is the player's place in the settings, for error messages. `framed` says
        that rows stand within a template, so that only the model's own length bounds them. `guide` is the field of a
        request by which a server guides the decoding, and `likeliest` how many first tokens a server is asked for with
        their log-probabilities. With `kept`, no model is asked: only calls in the ledger have answers.

        Raise the errors of `run_job`.
        """
        model = llm_fields(
            player,
            sampling or player.block,
            seed=self.config.seed,
            stage=stage,
            iteration=iteration,
            framed=framed,
            guide=guide,
            likeliest=likeliest,
            **overrides,
        )
        job = Job(
            self.store.job_folder(iteration, folder or stage).resolve(),
            kind,
            settings,
            model=model,
            ledger=self.ledger.resolve(),
            iteration=iteration,
            seed=self.config.seed,
            shard_rows=SHARD_ROWS,
            function=name_of(function) if function else None,
        )
        if kept:
            return self._work(replace(job, model=kept_fields(model)), rows, shown or stage)
        served = None
        if player.started_here:
            assert isinstance(player.block, VllmModel)
            served = self._servers(player.block, player.path, job, rows, key=key)
        reached = connection(player, served=served, budget=self.budget)
        job = replace(job, connection=reached if backend_of(player.block).REMOTE else reached | self._cluster())
        return self._work(job, rows, shown or stage)

    def score(self, scorer: Scorer, rows: ForJob, *, iteration: int, folder: str) -> Results:
        """Score every response of the rows by a reward that is not a judge, in a process of its own."""
        block = scorer.block
        job = Job(
            self.store.job_folder(iteration, folder).resolve(),
            "reward",
            block,
            ledger=self.ledger.resolve(),
            iteration=iteration,
            scorer=scorer.fingerprint,
            scorer_path=scorer.path,
            shard_rows=SHARD_ROWS,
            function=name_of(iter_scores),
        )
        if isinstance(block, RewardServer):
            served = (
                {"urls": list(block.urls)} if block.urls else self._servers(block, scorer.path, job, rows, key="reward")
            )
            job = replace(job, connection=served)
        if isinstance(block, LocalReward):
            job = replace(job, connection=self._cluster())
        return self._work(job, rows, "reward")

    def compute(
        self,
        kind: Kind,
        rows: ForJob,
        *,
        iteration: int,
        settings: Settings,
        function: Function,
        folder: str,
        shown: str,
        scorer: str = "",
    ) -> Results:
        """Call a function on the rows in a process of its own. It asks no player, and its results enter no ledger.

        `scorer` is the fingerprint of what the function needs beside the settings, such as the content of a file.
        """
        job = Job(
            self.store.job_folder(iteration, folder).resolve(),
            kind,
            settings,
            iteration=iteration,
            seed=self.config.seed,
            scorer=scorer,
            function=name_of(function),
        )
        return self._work(job, rows, shown)

    def note(self, text: str) -> str:
        """Tell the user at once. The caller returns the note with its result, for the manifest."""
        self.reporter.note(text)
        return text

    def _work(self, job: Job, rows: ForJob, shown: str) -> Results:
        return run_job(
            job,
            rows,
            log=self.store.log(f"{shown}-iter_{job.iteration}"),
            stalled_seconds=self.config.stalled_minutes * 60,
            progress=self.reporter.stage(shown, job.iteration),
            check=self.servers.check,
        )

    def _cluster(self) -> dict[str, Any]:
        """How a job reaches the cluster whose actors compute its batches; empty if it computes them itself."""
        engine = self.config.execution
        return {"cluster": engine.model_dump(exclude={"engine"})} if isinstance(engine, RayEngine) else {}

    def _servers(
        self, block: VllmModel | RewardServer, path: Path | None, job: Job, rows: ForJob, *, key: str
    ) -> dict[str, Any]:
        """How the servers of a job's model are reached. They are started unless they run or the job is done."""
        if is_done(job, rows):
            return {"urls": []}
        assert path is not None
        log = self.store.log(f"server-{job.kind}")
        return self.servers.reach(block, path, SERVED_NAME, log=log, key=key)
