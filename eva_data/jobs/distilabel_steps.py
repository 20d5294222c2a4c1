"""The parts of the Distilabel pipelines: a step that reads a job's rows, and the base class of the tasks.

Rows pass between steps as JSON text in the column `row`, because Distilabel infers a schema per batch and columns of an
empty batch would have no type. A task's result is JSON text in the column `result`.
"""

import json
import os
from abc import abstractmethod
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from distilabel.steps.base import GeneratorStep, StepInput
from distilabel.steps.tasks.base import Task
from pydantic import PrivateAttr, SerializeAsAny

from eva_data.calls import Chain, Completion, Message, Request, Row
from eva_data.config.base import Settings
from eva_data.errors import JobError
from eva_data.files import write_json
from eva_data.jobs.job import INPUT, WORKERS, Responses, write_error

PART_ROWS = 500
"""Rows that are read and made chains at once."""


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
        with fatal(self.job), _input(self.job) as file:
            remaining = file.metadata.num_rows
            for batch in file.iter_batches(batch_size=self.batch_size, columns=["row"]):
                remaining -= batch.num_rows
                yield batch.to_pylist(), remaining == 0


def _input(job: str) -> pq.ParquetFile:
    return pq.ParquetFile(Path(job) / INPUT)


class ChainTask(Task):  # type: ignore[misc]
    """A Distilabel task that works by chains. A subclass says which chains some rows need.

    Each row gives one row: `result` is the result of the row's chain as JSON. Distilabel hands a batch over when the
    batch before is finished. A server must not wait for that, so the task reads the rows of the job itself, and the
    chains of the next batch begin while the last ones of a batch wait for answers.
    """

    job: str
    settings: SerializeAsAny[Settings]
    iteration: int = 0
    seed: int = 0

    _results: Generator[list[str], None, None] | None = PrivateAttr(None)
    """The results of each shard, as JSON."""
    _left: int = PrivateAttr(0)
    """Rows that are not finished."""
    _begun: deque[int] = PrivateAttr(default_factory=deque)
    """What tells the rows of each shard that has begun, and is not finished, from others."""

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
            if self._results is None:
                self._results = self.llm.drive_shards(self._shards(), self._expected())
                with _input(self.job) as file:
                    self._left = int(file.metadata.num_rows)
            results: list[str] = next(self._results, [])
            if not self._begun or self._begun.popleft() != _mark(0, (item["row"] for item in inputs)):
                raise JobError("the pipeline gave this step other rows than the job's, or in another order")
            self._left -= len(inputs)
            yield [{"row": item["row"], "result": result} for item, result in zip(inputs, results, strict=True)]

    def unload(self) -> None:
        with fatal(self.job):
            if self._results is not None:
                # What asks may still write to the ledger, which is closed next. A job that ends early asks no more.
                if not self._left:
                    next(self._results, None)
                self._results.close()
        super().unload()

    def _expected(self) -> int:
        """The largest number of completions of the whole job, reckoned from its first rows."""
        with _input(self.job) as file:
            batch = next(file.iter_batches(PART_ROWS, columns=["row"]))
            first = [self.completions(json.loads(text)) for text in batch.column("row").to_pylist()]
            return sum(first) * int(file.metadata.num_rows) // len(first)

    def _shards(self) -> Iterator[Iterator[Chain[str]]]:
        """The chains of each batch of the job. A chain is made when it is reached."""
        with _input(self.job) as file:
            remaining = file.metadata.num_rows
            texts = (
                text
                for batch in file.iter_batches(PART_ROWS, columns=["row"])
                for text in batch.column("row").to_pylist()
            )
            while remaining > 0:
                yield self._shard(islice(texts, self.input_batch_size))
                remaining -= self.input_batch_size

    def _shard(self, texts: Iterator[str]) -> Iterator[Chain[str]]:
        mark = 0
        while part := list(islice(texts, PART_ROWS)):
            mark = _mark(mark, part)
            yield from map(_as_json, self.chains([json.loads(text) for text in part]))
        self._begun.append(mark)

    def format_input(self, input: Row) -> list[Message]:
        """The conversation of a row, which Distilabel's own `print` shows."""
        messages: list[Message] = json.loads(input["row"])["prompt"]
        return messages

    def format_output(self, output: str | None, input: Row | None = None) -> Row:
        return {"result": output}


def _mark(mark: int, texts: Iterable[str]) -> int:
    for text in texts:
        mark = hash((mark, text))
    return mark


def _as_json(chain: Chain[Any]) -> Chain[str]:
    """The chain, with its result as JSON."""
    return json.dumps((yield from chain))


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
