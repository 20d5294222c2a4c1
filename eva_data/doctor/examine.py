"""All that `eva-data doctor` looks at, in order."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from eva_data.doctor.cluster import look_at_cluster
from eva_data.doctor.examined import Examined, tried
from eva_data.doctor.launches import look_at_launches
from eva_data.doctor.machine import look_at_machine
from eva_data.doctor.services import look_at_services
from eva_data.iteration.ready import refuse_unready
from eva_data.iteration.run import Run


def examine(run: Run) -> Iterator[Examined]:
    """Findings about the settings, this machine, and the keys and servers that the next iteration relies on.

    Nothing is downloaded, no model is loaded, and no request is made that costs money.
    """
    built = run.store.iterations()
    iteration = built[-1] + 1 if built else 1
    yield tried("settings", partial(_ready, run, iteration))
    yield from look_at_machine(run)
    yield from look_at_launches(run)
    yield from look_at_cluster(run)
    yield from look_at_services(run.config)


def _ready(run: Run, iteration: int) -> str:
    refuse_unready(run, iteration)
    return f"iteration {iteration} of {run.config.name} may begin: its files and reward functions are in order"
