"""Answers from the ledger alone: finished calls have their completions, and all other calls fail. No model is asked."""

from __future__ import annotations

from collections.abc import Sequence

from eva_data.calls import Chain, Completion, T
from eva_data.models.base import LedgerLLM, refused
from eva_data.models.player import NOT_ASKED


class KeptLLM(LedgerLLM):
    """The finished calls of a model, by the model's own keys."""

    def drive(self, chains: Sequence[Chain[T]], expected: int) -> list[T]:
        results = [self._finish(chain) for chain in chains]
        self.report(expected, expected)
        return results

    def _finish(self, chain: Chain[T]) -> T:
        answers: list[Completion] | None = None
        while True:
            try:
                # A generator starts when it is sent None.
                requests = chain.send(answers)  # type: ignore[arg-type]
            except StopIteration as finished:
                result: T = finished.value
                return result
            keys = [self.key(request) for request in requests]
            found = self._ledger.completions(keys)
            answers = [found.get(key) or refused(NOT_ASKED) for key in keys]
