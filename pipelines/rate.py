"""The scorer rates every prompt of a job."""

from __future__ import annotations

from distilabel.pipeline import Pipeline

from eva_data.evolve.rating_task import RatePrompts
from eva_data.jobs.distilabel_steps import ReadRows
from eva_data.jobs.job import Job


def build(job: Job) -> Pipeline:
    with Pipeline(name="rate", cache_dir=job.folder / "distilabel") as pipeline:
        prompts = ReadRows(name="prompts", job=str(job.folder), batch_size=job.shard_rows)
        rate = RatePrompts(
            name="rate",
            llm=job.llm(),
            job=str(job.folder),
            settings=job.settings,
            iteration=job.iteration,
            seed=job.seed,
            input_batch_size=job.shard_rows,
            add_raw_input=False,
            add_raw_output=False,
        )
        prompts >> rate
    return pipeline
