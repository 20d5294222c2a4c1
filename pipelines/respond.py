"""The pipeline in which the solver answers every prompt of a job n times."""

from __future__ import annotations

from distilabel.pipeline import Pipeline

from eva_data.jobs.distilabel_steps import ReadRows, Respond
from eva_data.jobs.job import Job


def build(job: Job) -> Pipeline:
    with Pipeline(name="respond", cache_dir=job.folder / "distilabel") as pipeline:
        prompts = ReadRows(name="prompts", job=str(job.folder), batch_size=job.shard_rows)
        respond = Respond(
            name="respond",
            llm=job.llm(),
            job=str(job.folder),
            settings=job.settings,
            iteration=job.iteration,
            seed=job.seed,
            input_batch_size=job.shard_rows,
            add_raw_input=False,
            add_raw_output=False,
        )
        prompts >> respond
    return pipeline
