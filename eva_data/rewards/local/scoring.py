"""Computes scores of a model on this machine, batch by batch, if the ledger lacks them, and commits every batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from eva_data.calls import GAVE_UP
from eva_data.errors import ModelError
from eva_data.jobs.job import Job, ProgressFile
from eva_data.ledger import Ledger, Score
from eva_data.rewards.local.batches import Compute, Halving, Item, cut
from eva_data.rewards.local.invariance import BOUNDS, check
from eva_data.rewards.local.loading import local_model

WINDOW_TOKENS = 2**23
"""Number of tokens that are sorted and cut into batches together. They take 32 MiB of memory."""


@dataclass(frozen=True)
class Loaded:
    """A reward model in memory."""

    compute: Compute
    dtype: str
    """The dtype, such as float32 or bfloat16, which decides how exact the scores can be."""


def scores(
    job: Job,
    keys: Sequence[bytes],
    items: Iterable[Item],
    load: Callable[[], Loaded],
    *,
    responses: int,
    window_tokens: int = WINDOW_TOKENS,
) -> dict[bytes, Score]:
    """The Score of each of the distinct `keys`. `items` are their texts, in any order.

    If the ledger lacks a score of a batch, the whole batch is computed, and only the missing scores are kept. So a
    repeated run has the same bits. When the first score is missing, the model is loaded and checked for batch
    invariance. `responses` is the total for the progress. Raise ModelError if not a single text fits in memory.
    """
    assert job.ledger is not None
    progress = ProgressFile(job)
    with Ledger(job.ledger) as ledger:
        kept = ledger.scores(keys)
        if len(kept) == len(keys):
            progress(responses, responses)
            return kept
        model = _Model(job, load)
        found: dict[bytes, Score] = {}
        for window in _windows(items, window_tokens, found):
            for batch in cut(window, local_model(job).block.batch_tokens):
                missing = [item.key for item in batch if item.key not in kept]
                if missing:
                    computed = model.score(batch, window)
                    fresh = {key: computed[key] for key in missing}
                    ledger.keep_scores({key: score for key, score in fresh.items() if _is_final(score)})
                    kept |= fresh
                found |= {item.key: kept[item.key] for item in batch}
                progress(responses * len(found) // len(keys), responses)
    if found and all(not _is_final(score) for score in found.values()):
        raise ModelError(
            f"not one text fits in memory beside the reward model {job.scorer_path}: use another "
            "`reward.device` or `reward.dtype`"
        )
    progress(responses, responses)
    return found


def _windows(items: Iterable[Item], window_tokens: int, refused: dict[bytes, Score]) -> Iterator[list[Item]]:
    """The items in pieces that fit in memory. Items that the model cannot read go to `refused`."""
    window: list[Item] = []
    tokens = 0
    for item in items:
        if item.refused is not None:
            refused[item.key] = Score(None, item.refused)
            continue
        window.append(item)
        tokens += len(item.tokens)
        if tokens >= window_tokens:
            yield window
            window, tokens = [], 0
    if window:
        yield window


def _is_final(score: Score) -> bool:
    return score.reason is None or not score.reason.startswith(GAVE_UP)


class _Model:
    """The model of a job. It is loaded and checked when it is first needed."""

    def __init__(self, job: Job, load: Callable[[], Loaded]) -> None:
        self._model = local_model(job)
        self._load = load
        self._compute: Halving | None = None

    def score(self, batch: Sequence[Item], window: Sequence[Item]) -> dict[bytes, Score]:
        """The scores of a batch. The check of the model takes its texts from the whole window."""
        if self._compute is None:
            loaded = self._load()
            self._compute = Halving(loaded.compute)
            check(
                self._compute,
                window,
                batch_tokens=self._model.block.batch_tokens,
                bound=self._model.block.invariance or BOUNDS.get(loaded.dtype, BOUNDS["float32"]),
                model=self._model.path,
            )
        return {item.key: _score(item, value) for item, value in zip(batch, self._compute(batch), strict=True)}


def _score(item: Item, value: float | None) -> Score:
    if value is None:
        return Score(None, f"{GAVE_UP}no memory for {len(item.tokens)} tokens")
    return Score(value, None) if math.isfinite(value) else Score(None, "not_finite")
