"""The Distilabel task of the prompt scorer: one prompt in, its two ratings out."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from eva_data.calls import Chain, Row
from eva_data.config import PromptScorer
from eva_data.evolve.scorer import ASPECTS, score_prompts
from eva_data.jobs.distilabel_steps import ChainTask

# No `from __future__ import annotations` in the module of a Task: Distilabel looks at its annotations.


class RatePrompts(ChainTask):
    """One prompt in, its `Scores` as a dict out."""

    settings: PromptScorer

    def chains(self, rows: Sequence[Row]) -> list[Chain[Any]]:
        return [_rated(row) for row in rows]

    def completions(self, row: Row) -> int:
        # Each question may be asked once more.
        return 2 * len(ASPECTS)


def _rated(row: Row) -> Chain[dict[str, Any]]:
    [scores] = yield from score_prompts([row["prompt"]])
    return asdict(scores)
