"""The child process of a job: `python -m eva_data.jobs.child FOLDER`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from eva_data.errors import JobError
from eva_data.files import write_shards
from eva_data.jobs.job import ENDING, INPUT, OUTPUT, Job, named, write_error
from eva_data.jobs.results import READ_ROWS, InputRows, write_results


def run_pipeline(job: Job) -> None:
    """Run the job's Distilabel pipeline. This process must compute nothing before Distilabel forks."""
    from eva_data.project import load_pipeline

    pipeline = load_pipeline(job.kind).build(job)
    # Distilabel installs a traceback printer that shows local variables, and with them keys from the environment.
    sys.excepthook = sys.__excepthook__
    teardown: Callable[[], None] = pipeline._teardown

    def announced_teardown() -> None:
        (job.folder / ENDING).touch()
        teardown()

    # From here on, workers end because they are told to. The watchdog must not take that for a death.
    pipeline._teardown = announced_teardown
    # Distilabel's cache would return rows of other inputs and settings. A rerun uses the ledger instead.
    distiset = pipeline.run(use_cache=False)
    if "default" not in distiset:
        # Distilabel logs an error of writing and goes on.
        raise JobError("the pipeline wrote no rows, most often because no space is left: make room, then repeat")
    table = distiset["default"]["train"].data.table.select(["row", "result"])
    write_shards(job.folder / OUTPUT, table, sys.maxsize, group_rows=READ_ROWS)


def run_function(job: Job, name: str) -> None:
    """Call the function `module:name` with the job and its rows, and write one result per row as the results come."""
    rows = InputRows(job.folder / INPUT)
    write_results(job.folder / OUTPUT, rows, named(name)(job, rows))


def main() -> int:
    job = Job.load(Path(sys.argv[1]))
    try:
        if job.function is None:
            run_pipeline(job)
        else:
            run_function(job, job.function)
    except Exception as error:
        # This is the edge of the process: any exception must reach the parent.
        write_error(job.folder, error)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
