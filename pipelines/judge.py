"""The pipeline in which the judge rates every response of a job."""

from __future__ import annotations

from distilabel.pipeline import Pipeline

from eva_data.jobs.distilabel_steps import ReadRows
from eva_data.jobs.job import Job
from eva_data.rewards.judge_task import JudgeResponses


def build(job: Job) -> Pipeline:
    with Pipeline(name="judge", cache_dir=job.folder / "distilabel") as pipeline:
        responses = ReadRows(name="responses", job=str(job.folder), batch_size=job.shard_rows)
        judge = JudgeResponses(
            name="judge",
            llm=job.llm(),
            job=str(job.folder),
            settings=job.settings,
            iteration=job.iteration,
            seed=job.seed,
            input_batch_size=job.shard_rows,
            add_raw_input=False,
            add_raw_output=False,
        )
        responses >> judge
    return pipeline
