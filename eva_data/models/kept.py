"""A model that is not asked: what the ledger holds of its calls, and of all others that they were not made."""

from __future__ import annotations

from collections.abc import Sequence

from eva_data.calls import Chain, Completion, T
from eva_data.models.base import LedgerLLM, refused
from eva_data.models.player import NOT_ASKED


class KeptLLM(LedgerLLM):
    """Finished calls of a model, by the keys under which the model itself keeps them."""

    def drive(self, chains: Sequence[Chain[T]], expected: int) -> list[T]:
        results = [self._finish(chain) for chain in chains]
        self.report(expected, expected)
        return results

    def _finish(self, chain: Chain[T]) -> T:
        answers: list[Completion] | None = None
        while True:
            try:
                # A generator is started by sending None.
                requests = chain.send(answers)  # type: ignore[arg-type]
            except StopIteration as finished:
                result: T = finished.value
                return result
            keys = [self.key(request) for request in requests]
            found = self._ledger.completions(keys)
            answers = [found.get(key) or refused(NOT_ASKED) for key in keys]
