"""The child process of a job: `python -m eva_data.run_job FOLDER`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eva_data.files import write_parquet
from eva_data.jobs import ENDING, INPUT, OUTPUT, Job, write_error


def run_pipeline(job: Job) -> None:
    """Run the job's Distilabel pipeline; nothing may be computed in this process before it forks."""
    from eva_data.project import load_pipeline

    pipeline = load_pipeline(job.kind).build(job)
    # Distilabel installs a traceback printer that shows local variables, the environment's keys among them.
    sys.excepthook = sys.__excepthook__
    teardown: Callable[[], None] = pipeline._teardown

    def announced_teardown() -> None:
        (job.folder / ENDING).touch()
        teardown()

    # From here on workers end because they are told to, which the watchdog must not take for a death.
    pipeline._teardown = announced_teardown
    # Distilabel's cache gives back rows of other inputs and settings; the ledger is what a rerun goes by.
    distiset = pipeline.run(use_cache=False)
    table = distiset["default"]["train"].data.table.select(["row", "result"])
    write_parquet(job.folder / OUTPUT, table)


def run_plain(job: Job) -> None:
    """Run a job that is no Distilabel pipeline."""
    texts = pq.read_table(job.folder / INPUT)["row"]
    job = replace(job, settings=job.settings | job.connection) if job.kind == "reward" else job
    results = _plain(job.kind)(job, [json.loads(text) for text in texts.to_pylist()])
    table = pa.table({"row": texts, "result": [json.dumps(result) for result in results]})
    write_parquet(job.folder / OUTPUT, table)


def _plain(kind: str) -> Callable[[Job, list[dict[str, Any]]], list[Any]]:
    if kind == "reward":
        from eva_data.rewards import score_rows

        return score_rows
    from eva_data.evaluate import answer_rows

    return answer_rows


def main() -> int:
    job = Job.load(Path(sys.argv[1]))
    try:
        if job.kind in ("respond", "evolve", "judge"):
            run_pipeline(job)
        else:
            run_plain(job)
    except Exception as error:
        # The edge of the process: what went wrong must reach the parent, whatever it is.
        write_error(job.folder, error)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
