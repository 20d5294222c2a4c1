"""The parts of the Distilabel pipelines: a step that reads a job's rows, and the base class of the tasks.

Rows pass between steps as JSON text in the column `row`, because Distilabel infers a schema per batch and columns of an
empty batch would have no type. A task's result is JSON text in the column `result`.
"""

import json
import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from distilabel.steps.base import GeneratorStep, StepInput
from distilabel.steps.tasks.base import Task
from pydantic import SerializeAsAny

from eva_data.calls import Chain, Completion, Message, Request, Row
from eva_data.config.base import Settings
from eva_data.files import write_json
from eva_data.jobs.job import INPUT, WORKERS, Responses, write_error


@contextmanager
def fatal(job: str) -> Iterator[None]:
    """On any error, leave `error.json` in the job folder and end this process at once.

    Distilabel would turn an exception in a step into rows of None, or an empty set, with exit status 0.
    """
    try:
        yield
    except Exception as error:
        write_error(Path(job), error)
        os._exit(70)


# This module must not import annotations from __future__: Distilabel looks for the StepInput type itself.


class ReadRows(GeneratorStep):  # type: ignore[misc]
    """Yields the rows of the job's input file, a bounded number at a time."""

    job: str

    @property
    def outputs(self) -> list[str]:
        return ["row"]

    def process(self, offset: int = 0) -> Iterator[tuple[list[Row], bool]]:
        with fatal(self.job):
            file = pq.ParquetFile(Path(self.job) / INPUT)
            remaining = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=self.batch_size, columns=["row"]):
                remaining -= batch.num_rows
                yield batch.to_pylist(), remaining == 0


class ChainTask(Task):  # type: ignore[misc]
    """A Distilabel task that works by chains. A subclass says which chains a batch of rows needs.

    Each row gives one row: `result` is the result of the row's chain as JSON.
    """

    job: str
    settings: SerializeAsAny[Settings]
    iteration: int = 0
    seed: int = 0

    @property
    def inputs(self) -> list[str]:
        return ["row"]

    @property
    def outputs(self) -> list[str]:
        return ["result"]

    @abstractmethod
    def chains(self, rows: Sequence[Row]) -> list[Chain[Any]]:
        """One chain per row."""

    @abstractmethod
    def completions(self, row: Row) -> int:
        """The largest number of completions that the chain of a row can ask for."""

    def load(self) -> None:
        with fatal(self.job):
            # All processes of the pipeline are siblings of this one. The parent watches that none of them dies.
            siblings = psutil.Process(os.getppid()).children()
            write_json(Path(self.job) / WORKERS, [[process.pid, process.create_time()] for process in siblings])
            super().load()

    def process(self, inputs: StepInput) -> Iterator[list[Row]]:
        with fatal(self.job):
            rows = [json.loads(item["row"]) for item in inputs]
            results = self.llm.drive(self.chains(rows), sum(self.completions(row) for row in rows))
            yield [
                {"row": item["row"], "result": json.dumps(result)} for item, result in zip(inputs, results, strict=True)
            ]

    def format_input(self, input: Row) -> list[Message]:
        """The conversation of a row, which Distilabel's own `print` shows."""
        messages: list[Message] = json.loads(input["row"])["prompt"]
        return messages

    def format_output(self, output: str | None, input: Row | None = None) -> Row:
        return {"result": output}


class Respond(ChainTask):
    """Gives the solver's `responses` completions for each prompt (paper 3.3.1)."""

    settings: Responses

    def chains(self, rows: Sequence[Row]) -> list[Chain[Any]]:
        return [_ask(row, self.settings.responses) for row in rows]

    def completions(self, row: Row) -> int:
        return self.settings.responses


def _ask(row: Row, responses: int) -> Chain[list[dict[str, Any]]]:
    messages = tuple(row["prompt"])
    completions: list[Completion] = yield [Request(messages, index) for index in range(responses)]
    return [asdict(completion) for completion in completions]
