"""Runs several chains as one: their requests are asked together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from eva_data.calls import Chain, Completion, Request

T = TypeVar("T")


def together(chains: Sequence[Chain[T]]) -> Chain[list[T]]:
    """The results of all chains in order. What they need next is asked at once, and all go on when all is answered."""
    results: dict[int, T] = {}
    waiting: dict[int, list[Request]] = {}

    def go_on(number: int, completions: list[Completion] | None) -> None:
        try:
            waiting[number] = chains[number].send(completions)  # type: ignore[arg-type]
        except StopIteration as finished:
            results[number] = finished.value

    for number in range(len(chains)):
        go_on(number, None)
    while waiting:
        asked = sorted(waiting.items())
        waiting.clear()
        completions = iter((yield [request for _, requests in asked for request in requests]))
        for number, requests in asked:
            go_on(number, [next(completions) for _ in requests])
    return [results[number] for number in range(len(chains))]
