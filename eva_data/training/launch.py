"""Starts a training script, waits for it, and says why it failed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml

from eva_data.config import Config, TransformersModel, VllmModel
from eva_data.errors import ConfigError, JobError
from eva_data.files import write_json
from eva_data.jobs.job import Progress
from eva_data.jobs.nursery import Child, child_process
from eva_data.models.resolve import folder_fingerprint
from eva_data.project import train_dir

POLL_SECONDS = 0.2


_LEFT_BEHIND = {"README.md"}
"""Files that are not taken over. TRL's card calls the model by the name of the job's folder."""


_REASON = re.compile(r"error: .|(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b")


_LAUNCHER = re.compile(r"(?:\w+\.)*(?:CalledProcessError|ChildFailedError)\b")


_UNWRITTEN = re.compile(
    r"No space left on device|Disk quota exceeded|File too large|PytorchStreamWriter failed|inline_container"
)


_KILLED = re.compile(r"died with <Signals\.(SIG\w+): \d+>|Signal \d+ \((SIG\w+)\) received")


_OF_OTHER_LAUNCHES = re.compile(
    r"(?:LOCAL_|NODE_|GROUP_|ROLE_)?(?:RANK|WORLD_SIZE)|LOCAL_PROCESS_INDEX|MASTER_(?:ADDR|PORT)|ROLE_NAME|FORK_LAUNCHED"
    r"|MPI_LOCAL\w+|MV2_COMM_\w+"
    r"|(?:ACCELERATE|FSDP|MEGATRON_LM|PARALLELISM_CONFIG|TORCHELASTIC|TORCH_ELASTIC|PMI|PMIX|OMPI)_\w+"
)
"""Variables by which launchers tell a process its place among others. A shell inside such a process inherits them."""


_TOLD = {"ACCELERATE_USE_CPU": "True", "ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_DYNAMO_BACKEND": "NO"}
"""What `accelerate launch` tells a single process on the CPU."""


def launch_arguments(config: Config, environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The arguments of `accelerate launch`, and its environment.

    The default is one process on the solver's device. Only with `train.accelerate` do the user's settings for
    accelerate and the variables of other launchers count.
    """
    block = _solver(config)
    usable = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    threads = block.threads if isinstance(block, TransformersModel) else None
    # Every value is given, so that accelerate announces no default. The file replaces the user's own config file.
    arguments = [
        *("--config_file", str(train_dir() / "one_process.yaml")),
        *("--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--num_cpu_threads_per_process", str(threads or usable)),
    ]
    always = {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # Threads that spin while they wait would take the processor from other processes.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    if config.train.accelerate is not None:
        file = config.train.accelerate.expanduser()
        if not file.is_file():
            raise ConfigError(
                f"`train.accelerate` is {file}, but there is no such file: `accelerate config` writes one"
            )
        return ["--config_file", str(file.resolve())], {**environment, **always}
    environment = {name: value for name, value in environment.items() if not _OF_OTHER_LAUNCHES.fullmatch(name)}
    kind, _, number = block.device.partition(":")
    if kind == "cpu":
        # If the script sees no GPU, it uses float32.
        return [*arguments, "--cpu"], {**environment, **always, "CUDA_VISIBLE_DEVICES": ""}
    if kind == "cuda":
        # The process must see one GPU only: with more, it would use DataParallel, which TRL refuses.
        visible = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
        chosen = visible[int(number or 0)] if visible != [""] else number or "0"
        return [*arguments, "--gpu_ids", chosen], {**environment, **always}
    return arguments, {**environment, **always}


def failure(text: str, status: int) -> str:
    """Why a training failed, in one line: the script's own error in its log, or else the last exception."""
    lines = [line.rsplit("]: ", 1)[-1].strip() for line in text.splitlines()]
    reasons = [line for line in lines if _REASON.match(line) and not _LAUNCHER.match(line)]
    # The last exception may come from another library and not name the cause.
    if unwritten := [line for line in reasons if _UNWRITTEN.search(line)]:
        return f"it could not write a file ({unwritten[-1]}), most often because no space is left: make room"
    if reasons:
        return reasons[-1].removeprefix("error: ")
    killed = _KILLED.search(text)
    if killed or status > 128:
        name = killed.group(killed.lastindex or 0) if killed else signal.Signals(status - 128).name
        return f"it was killed ({name}), most often for want of memory: take a smaller batch or an adapter"
    return " | ".join(line for line in lines[-3:] if line) or f"it ended with status {status} and no word"


def _solver(config: Config) -> TransformersModel | VllmModel:
    solver = config.model_solver
    if not config.trains or not isinstance(solver, TransformersModel | VllmModel):
        raise ConfigError("`solver` is no model on this machine: there is nothing here to train")
    return solver


def script_arguments(config: Config) -> list[str]:
    block = _solver(config)
    return [
        *("--trust_remote_code", str(block.trust_remote_code).lower()),
        *("--use_cpu", str(block.device == "cpu").lower()),
        *(("--report_to", *config.train.report_to) if config.train.report_to else ()),
    ]


_IMPORTS = ("datasets", "peft", "polars", "torch", "transformers", "trl", "trl.trainer.dpo_trainer")
"""What the trainer imports at its beginning and may share with other trainings on the CPU."""


def run_script(
    config: Config,
    script: Sequence[str],
    job: Path,
    log: Path,
    environment: Mapping[str, str],
    name: str,
    on_progress: Progress | None,
) -> None:
    before = log.stat().st_size if log.exists() else 0
    (job / "progress.json").unlink(missing_ok=True)
    seen = None
    launch, environment = launch_arguments(config, environment)
    alone = config.train.accelerate is None and _solver(config).device == "cpu"
    if alone:
        # One process needs no launcher, only what the launcher would tell it.
        environment |= _TOLD | {"OMP_NUM_THREADS": launch[launch.index("--num_cpu_threads_per_process") + 1]}
    expected = _processes(config.train.accelerate)
    whole = [*script, *(() if expected is None else ("--processes", str(expected)))]
    program, *rest = script if alone else ("accelerate.commands.launch", *launch, *whole)
    with child_process(program, rest, log=log, env=environment, imports=_IMPORTS if alone else None, cwd=job) as child:
        while (status := _status(child)) is None:
            seen = _tell(on_progress, job / "progress.json", seen)
    _tell(on_progress, job / "progress.json", seen)
    if status != 0:
        with log.open("rb") as file:
            file.seek(before)
            text = file.read().decode("utf-8", errors="replace")
        raise JobError(
            f"training {name} failed: {failure(text, status)}; its log is {log}; "
            "run the same command again to go on from its last checkpoint"
        )


def _processes(file: Path | None) -> int | None:
    """How many processes a configuration of accelerate names; None without one, or if it names no number."""
    if file is None:
        return None
    try:
        found = yaml.safe_load(file.expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"`train.accelerate` is {file}, which cannot be read as YAML: {why}") from None
    number = found.get("num_processes") if isinstance(found, dict) else None
    return number if isinstance(number, int) else None


def _status(child: Child) -> int | None:
    try:
        return child.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _tell(on_progress: Progress | None, path: Path, told: tuple[int, int] | None) -> tuple[int, int] | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return told
    now = (values["done"], values["total"])
    if on_progress and now != told:
        on_progress(*now)
    return now


def take_model(
    output: Path, solver: Path, finish: Callable[[Path], None] | None, *, recipe_sha256: str | None = None
) -> None:
    """Give the trained model its name once all files are on disk, with a record by which later changes are noticed."""
    whole = solver.with_name(f".{solver.name}.tmp")
    shutil.rmtree(whole, ignore_errors=True)
    whole.mkdir(parents=True)
    for file in output.iterdir():
        if file.is_file() and file.name not in _LEFT_BEHIND:
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
            file.replace(whole / file.name)
    record = whole / "training.json"
    known = {"fingerprint": folder_fingerprint(whole)} | ({"recipe_sha256": recipe_sha256} if recipe_sha256 else {})
    write_json(record, json.loads(record.read_text(encoding="utf-8")) | known)
    if finish:
        finish(whole)
    whole.rename(solver)
