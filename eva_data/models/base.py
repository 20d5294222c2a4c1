"""The Distilabel LLM class that all backends extend: it runs chains of requests and makes no request twice."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distilabel.models.llms.base import LLM
from pydantic import PrivateAttr

from eva_data.calls import Chain, Completion, Message, Request, Sampling, T
from eva_data.ledger import Ledger
from eva_data.ledger.records import canonical, hashed


class LedgerLLM(LLM):  # type: ignore[misc]
    """An LLM whose finished calls are kept in the ledger. `load` opens the ledger in the process that uses it."""

    fingerprint: str
    """What the model is, by content. Models with the same fingerprint give the same answers."""
    engine: dict[str, Any]
    """Settings that change the model's output, such as the dtype."""
    sampling: dict[str, Any]
    """The fields of calls.Sampling."""
    max_prompt_tokens: int | None
    """Requests with more prompt tokens are not made; None leaves the bound to the model's own length."""
    system: str
    """keep | merge_into_user | reject: what to do with a system message if the template has no such role."""
    seed: int
    ledger: str
    """Path of the ledger."""
    stage: str = ""
    """estimate, respond, evolve, judge ...: the name under which the costs of the calls are recorded."""
    iteration: int = 0
    progress: str
    """Path of a file with the number of finished completions and the number of all completions."""

    _ledger: Ledger = PrivateAttr()
    _before: int = PrivateAttr(0)
    """Completions of the shards before, which `drive` does not count."""
    _reported: int = PrivateAttr(0)

    @property
    def model_name(self) -> str:
        return self.fingerprint

    def load(self) -> None:
        super().load()
        self._ledger = Ledger(Path(self.ledger))

    def unload(self) -> None:
        self._ledger.close()
        super().unload()

    @abstractmethod
    def drive(self, chains: Sequence[Chain[T]], expected: int) -> list[T]:
        """Run all chains to their end and return their results in order.

        `expected` is the largest number of completions that they can ask for, for the progress file. A failed request
        gives a Completion with an error. Raise an EvaError only if it makes all further requests pointless.
        """

    def drive_shards(self, shards: Iterator[Iterable[Chain[T]]], expected: int) -> Generator[list[T], None, None]:
        """Run the chains of every shard to their end, and yield the results of each shard, in order.

        `expected` is the number of completions in all shards, as in `drive`.
        """
        for chains in shards:
            yield self.drive([*chains], expected)
            self._before, self._reported = self._before + self._reported, 0

    def generate(self, inputs: list[list[Message]], num_generations: int = 1) -> list[dict[str, Any]]:
        """Answer the tasks that come with Distilabel, which call this method."""

        def ask(messages: Sequence[Message]) -> Chain[list[Completion]]:
            return (yield [Request(tuple(messages), index) for index in range(num_generations)])

        answers = self.drive([ask(messages) for messages in inputs], len(inputs) * num_generations)
        return [
            {
                "generations": [completion.text for completion in completions],
                "statistics": {
                    "input_tokens": [completion.prompt_tokens or 0 for completion in completions],
                    "output_tokens": [completion.completion_tokens or 0 for completion in completions],
                },
            }
            for completions in answers
        ]

    def key(self, request: Request) -> bytes:
        """The ledger's key of a request: the hash of everything that determines its answer, and of nothing else."""
        return self.keyed()(request)

    def keyed(self) -> Callable[[Request], bytes]:
        """The function `key` for many requests. The JSON of what they share is made once."""
        sampling = Sampling(**self.sampling)
        engine, longest, model, last = (
            canonical(part)[1:-1]
            for part in (
                {"engine": self.engine},
                {"max_tokens": sampling.max_tokens},
                {"model": self.fingerprint},
                {
                    "seed": self.seed,
                    "system": self.system,
                    "temperature": sampling.temperature,
                    "top_p": sampling.top_p,
                },
            )
        )

        def key(request: Request) -> bytes:
            messages = canonical([[message["role"], message["content"]] for message in request.messages])
            return hashed(
                f'{{{engine},"index":{request.index},{longest},"messages":{messages},{model},'
                f'"salt":{canonical(request.salt)},{last}}}'
            )

        return key

    def report(self, done: int, total: int, waits: str = "") -> None:
        """Tell the parent process the progress of the work, and what it waits for."""
        used = self._ledger.used
        self._reported = done
        told = {
            "done": self._before + done,
            "total": total,
            "tokens": used.tokens,
            "dollars": used.dollars,
            "waits": waits,
        }
        # Not flushed: that would hold requests up, and nobody misses a report that a power cut loses.
        path = Path(self.progress)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(told), encoding="utf-8")
        temporary.replace(path)


def refused(error: str, prompt_tokens: int | None = None) -> Completion:
    """The completion of a request that cannot be answered."""
    return Completion(None, "error", prompt_tokens, None, error)
