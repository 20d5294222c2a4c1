"""Tests theta_0 of a sweep in the sandbox before its first arm runs: whether it can show what its world is for."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from eva_data.config import TransformersModel
from eva_data.errors import DataError, JobError
from eva_data.experiments.design import Sweep
from eva_data.files import write_json
from eva_data.models.resolve import ResolvedModel, resolve
from eva_data.sandbox.gate import failure
from eva_data.supervise import Supervised, last_lines

MEASURED = "theta_0.json"


def hold_gate(sweep: Sweep, folder: Path) -> None:
    """Measure theta_0 of every arm in the worlds `steps` and `crowded`, and write `theta_0.json` to the folder.

    Raise DataError, which names the figure, if a theta_0 knows too little or too much; nothing is measured twice.
    """
    path = folder / MEASURED
    known: dict[str, list[Mapping[str, float]]] = {}
    if path.exists():
        try:
            known = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            raise DataError(f"{path} is damaged: delete it, and theta_0 is measured again") from None
    for model in _solvers(sweep).values():
        if model.fingerprint not in known:
            known[model.fingerprint] = _measure(model.path, folder)
            write_json(path, known)
        if wrong := failure(known[model.fingerprint]):
            raise DataError(f"the sweep {sweep.design.name} cannot show anything: {wrong} ({model.name})")


def _solvers(sweep: Sweep) -> dict[str, ResolvedModel]:
    found = {}
    for arm in sweep.design.arms:
        config = sweep.load(arm)
        shows_steps = config.seeds is not None and config.seeds.sandbox and config.seeds.world != "careless"
        if shows_steps and isinstance(config.solver, TransformersModel):
            model = resolve(config.solver.model, config.solver.revision)
            found[model.fingerprint] = model
    return found


def _measure(model: Path, folder: Path) -> list[Mapping[str, float]]:
    log = folder / "logs" / "theta_0.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-W", "ignore", "-m", "eva_data.sandbox.gate", str(model)]
    with Supervised(command, log=log) as child:
        status = child.wait()
    if status != 0:
        raise JobError(f"theta_0 could not be measured ({last_lines(log, 1)}); see {log}")
    rows: list[Mapping[str, float]] = json.loads(last_lines(log, 1))
    return rows
