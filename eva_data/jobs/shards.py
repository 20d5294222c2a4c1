"""Asks a model about the rows of a job by a function of the job, a shard of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from eva_data.calls import Chain, Row, Rows, T
from eva_data.jobs.job import Job


def by_shards(
    job: Job, rows: Rows, chain_of: Callable[[Row], Chain[T]], completions_of: Callable[[Row], int]
) -> Iterator[T]:
    """The result of each row's chain, in order. The rows and results of a few shards are in memory at once.

    `completions_of` gives the largest number of completions that a row's chain can ask for, for the progress.
    """
    llm = job.llm()
    llm.load()
    remaining, left = iter(rows), len(rows)

    def shards() -> Iterator[Iterator[Chain[T]]]:
        for _ in range(0, left, job.shard_rows):
            yield map(chain_of, islice(remaining, job.shard_rows))

    for results in llm.drive_shards(shards(), sum(map(completions_of, rows))):
        yield from results
    llm.unload()
