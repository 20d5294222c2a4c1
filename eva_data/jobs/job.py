"""Runs work in a process of its own: the job is written to a folder, run under a watchdog, and its result read back.

Every stage that runs a model is a fresh child process, for two reasons. If a process uses polars or torch before
Distilabel forks, the forked step hangs for ever. And models must leave memory when their stage ends. The parent only
waits. If it sees a dead worker, an `error.json` or a job without progress, it ends the whole process group and raises
an error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import psutil

from eva_data.calls import Rows, StageProgress, Used
from eva_data.config.base import Settings
from eva_data.errors import EvaError, JobError
from eva_data.files import write_text
from eva_data.jobs.nursery import Child, child_process
from eva_data.jobs.results import ForJob, Results, write_rows
from eva_data.secrets import redacted
from eva_data.supervise import ending, last_lines

if TYPE_CHECKING:
    from eva_data.models.base import LedgerLLM

INPUT, OUTPUT, ERROR, PROGRESS, WORKERS, ENDING, JOB = (
    "input.parquet",
    "output.parquet",
    "error.json",
    "progress.json",
    "workers.json",
    "ending",
    "job.json",
)
"""The files of a job folder."""

PROBE, PROBE_BYTES = ".room", 1 << 20
"""A file that is written after a failure to see whether the disk is full."""

POLL_SECONDS = 0.2


Progress = Callable[[int, int], None]
"""Called with (done, total) from time to time."""

Kind = Literal["respond", "evolve", "judge", "rate", "reward", "evaluate"]


class Responses(Settings):
    """The settings of the pipeline `respond`."""

    responses: int
    """Number of completions per prompt."""


@dataclass(frozen=True)
class Job:
    """One piece of work for a child process, as plain values."""

    folder: Path
    kind: Kind
    settings: Settings | None = None
    """The block of the config for the work; None if it needs none."""
    model: dict[str, Any] | None = None
    """The LLM class, under `llm`, and its fields; None if no model generates."""
    connection: dict[str, Any] = field(default_factory=dict, compare=False)
    """How to reach the model's server: URLs, the name of the key's variable, limits. It does not change the result."""
    ledger: Path | None = None
    iteration: int = 0
    seed: int = 0
    scorer: str = ""
    """Fingerprint of the reward model; empty if nothing is scored."""
    scorer_path: Path | None = None
    """The reward model's folder on this machine; None if it has none."""
    shard_rows: int = 5000
    """Number of rows in memory at once; the others wait in the input file."""
    function: str | None = None
    """The function, as `module:name`, to call with (job, rows); None runs the Distilabel pipeline named by `kind`."""

    def llm(self) -> LedgerLLM:
        """The LLM of this job. It is not loaded yet."""
        assert self.model is not None
        fields = {key: value for key, value in self.model.items() if key != "llm"} | self.connection
        llm: LedgerLLM = named(self.model["llm"])(
            **fields, ledger=str(self.ledger), progress=str(self.folder / PROGRESS)
        )
        return llm

    def save(self) -> None:
        from eva_data.files import write_json

        values = {name: getattr(self, name) for name in (field.name for field in fields(self))}
        block = None if self.settings is None else type(self.settings)
        written = {
            "settings": None if self.settings is None else self.settings.model_dump(mode="json"),
            "block": None if block is None else f"{block.__module__}:{block.__qualname__}",
            **{name: None if values[name] is None else str(values[name]) for name in _PATHS},
        }
        write_json(self.folder / JOB, redacted(values | written))

    @classmethod
    def load(cls, folder: Path) -> Job:
        values = json.loads((folder / JOB).read_text(encoding="utf-8"))
        paths = {name: Path(values[name]) if values[name] else None for name in _PATHS}
        block = values.pop("block")
        settings = None if block is None else named(block).model_validate(values["settings"])
        return cls(**values | paths | {"settings": settings})


_PATHS = ("folder", "ledger", "scorer_path")


def named(name: str) -> Any:
    """The function or class that `module:name` names."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def run_job(
    job: Job,
    rows: ForJob,
    *,
    log: Path,
    stalled_seconds: float,
    progress: StageProgress | None = None,
    check: Callable[[], None] = lambda: None,
) -> Results:
    """Run `job` on `rows` in a child process, and return (row, result) for every row, in order.

    `check` is called while the child works; it may raise an error that makes the work pointless. If the folder already
    holds the result of the same job on the same rows, it is read and not computed again. Raise JobError if the child
    died, made no progress or returned other rows. If the child failed with an EvaError, raise that error.
    """
    if rows.height == 0:
        return Results(None)
    if is_done(job, rows):
        return _results(job)
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    write_rows(job.folder / INPUT, rows)
    job.save()
    environment = os.environ | {
        "HF_DATASETS_CACHE": str(job.folder / "datasets"),
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        # Idle OpenMP threads that spin would take the processor from other processes.
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    started = log.stat().st_size if log.exists() else 0
    with child_process(
        "eva_data.jobs.child", [str(job.folder)], log=log, env=environment, imports=_imports(job)
    ) as child:
        status = _wait(child, job, stalled_seconds, progress, check)
    _raise_error(job, log, status, started)
    results = _results(job)
    if not results.are_of_file(job.folder / INPUT):
        raise JobError(f"the {job.kind} stage returned other rows than the {rows.height} it was given; see {log}")
    return results


def _imports(job: Job) -> list[str] | None:
    """What the job imports at its beginning and may share with other jobs; None if it must not be a fork."""
    if job.function is not None:
        return ["eva_data.jobs.child"]
    pipeline = ["eva_data.jobs.child", "distilabel.pipeline", "eva_data.jobs.distilabel_steps"]
    device = (job.model or {}).get("device")
    if device is None:
        return pipeline
    local = ["torch", "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"]
    return [*pipeline, *local, "eva_data.models.local", "eva_data.models.decode"] if device == "cpu" else None


Function: TypeAlias = Callable[[Job, Rows], Iterable[Any]]
"""A job's own function. It gives one result per row, in order, best as a generator that reads the rows in turn."""


def name_of(function: Function) -> str:
    """The function's name for `Job.function`, by which it can be imported."""
    return f"{function.__module__}:{function.__qualname__}"


def is_done(job: Job, rows: ForJob) -> bool:
    """Whether the folder holds the result of exactly this job on exactly these rows, and no call in it was given up."""
    if rows.height == 0:
        return True
    if not (job.folder / OUTPUT).exists() or not _is_same(job):
        return False
    results = Results(job.folder / OUTPUT)
    return not results.given_up() and results.are_of(rows)


def _is_same(job: Job) -> bool:
    try:
        return Job.load(job.folder) == job
    except (AttributeError, KeyError, TypeError, ValueError):
        # Another version of eva-data wrote it. The calls that it paid for are in the ledger.
        return False


def _wait(
    child: Child, job: Job, stalled_seconds: float, progress: StageProgress | None, check: Callable[[], None]
) -> int:
    seen, since, told = (0, 0), time.monotonic(), ""

    def tell() -> None:
        """Pass a new count on, and what the job waits for."""
        nonlocal seen, since, told
        now = _read(job.folder / PROGRESS) or {"done": 0, "total": 0}
        count, used = (now["done"], now["total"]), _used(now)
        if progress and (count, used.waits) != (seen, told):
            progress(*count, used)
        told = used.waits
        if count != seen:
            seen, since = count, time.monotonic()

    while True:
        try:
            status = child.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        else:
            tell()
            return status
        if (job.folder / ERROR).exists():
            tell()
            return -1
        check()
        dead = _dead_workers(job)
        if dead:
            raise JobError(
                f"a worker process of the {job.kind} stage died (pid {', '.join(map(str, dead))}), perhaps for want "
                "of memory; what was finished is kept: run the same command again"
            )
        tell()
        if time.monotonic() - since > stalled_seconds:
            raise JobError(
                f"the {job.kind} stage made no progress for {stalled_seconds:.0f} s at {seen[0]} of {seen[1]}; "
                "what was finished is kept: run the same command again, or raise `stalled_minutes`"
            )


def _used(told: Mapping[str, Any]) -> Used:
    return Used(told.get("tokens", 0), told.get("dollars", 0.0), told.get("waits", ""))


def _dead_workers(job: Job) -> list[int]:
    workers = _read(job.folder / WORKERS) or []
    dead = [pid for pid, started in workers if not _is_alive(pid, started)]
    # This is checked last, because workers that are told to end do so after the file is written.
    return [] if (job.folder / ENDING).exists() else dead


def _is_alive(pid: int, started: float) -> bool:
    try:
        process = psutil.Process(pid)
        return bool(process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - started) < 1)
    except psutil.NoSuchProcess:
        return False


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def _raise_error(job: Job, log: Path, status: int, started: int) -> None:
    error = _read(job.folder / ERROR)
    if error is not None:
        if error["expected"]:
            raise _error_class(error["kind"])(error["message"])
        _refuse_full_disk(job)
        raise JobError(f"the {job.kind} stage failed: {error['kind']}: {error['message']}; the whole story is in {log}")
    if status != 0 or not (job.folder / OUTPUT).exists():
        _refuse_full_disk(job)
        tail = last_lines(log, 3).replace("\n", " | ") if log.stat().st_size > started else "nothing in its log"
        raise JobError(f"the {job.kind} stage {ending(status)} and has no result ({tail}); see {log}")


def _refuse_full_disk(job: Job) -> None:
    """Raise JobError if the job's files cannot grow any more. Its own words about that may have found no room."""
    for folder in {job.folder, *([] if job.ledger is None else [job.ledger.parent])}:
        probe = folder / PROBE
        try:
            with probe.open("wb") as file:
                file.write(bytes(PROBE_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise JobError(
                f"the {job.kind} stage failed, and nothing more can be written to {folder}: {error.strerror}; what was "
                "finished is kept: make room, then run the same command again"
            ) from None
        finally:
            probe.unlink(missing_ok=True)


def _error_class(name: str) -> type[EvaError]:
    waiting, known = [EvaError], dict[str, type[EvaError]]()
    while waiting:
        kind = waiting.pop()
        known[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return known.get(name, JobError)


def _results(job: Job) -> Results:
    results = Results(job.folder / OUTPUT)
    if empty := results.unanswered():
        raise JobError(f"{empty} rows of the {job.kind} stage came back empty")
    return results


def write_error(job: Path, error: BaseException) -> None:
    """Write an error to a file that the parent process reads."""
    from eva_data.files import write_json

    write_json(
        job / ERROR,
        redacted(
            {
                "kind": type(error).__name__,
                "message": str(error),
                "traceback": "".join(traceback.format_exception(error)),
                "expected": isinstance(error, EvaError),
            }
        ),
    )


PROGRESS_SECONDS = 0.5
"""Least number of seconds between two reports."""


class ProgressFile:
    """Writes the job's progress file from time to time and at the end, however often (done, total) is reported."""

    def __init__(self, job: Job) -> None:
        self._path = job.folder / PROGRESS
        self._written = -PROGRESS_SECONDS

    def __call__(self, done: int, total: int, waits: str = "") -> None:
        if done == total or time.monotonic() - self._written >= PROGRESS_SECONDS:
            told = {"done": done, "total": total} | ({"waits": waits} if waits else {})
            write_text(self._path, json.dumps(told))
            self._written = time.monotonic()
