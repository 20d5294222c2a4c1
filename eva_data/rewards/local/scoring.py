"""Computes scores of a model on this machine, batch by batch, if the ledger lacks them, and commits every batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeVar

from eva_data.calls import GAVE_UP, Rows
from eva_data.errors import ModelError
from eva_data.jobs.job import Job, ProgressFile
from eva_data.ledger import Claims, Ledger, Score
from eva_data.ledger.claims import each_once
from eva_data.models.cluster.computing import Computing, Here, OnRay
from eva_data.rewards.keyed import KeyedRows, TextsOf
from eva_data.rewards.local.batches import Compute, Halving, Item, cut
from eva_data.rewards.local.invariance import BOUNDS, check
from eva_data.rewards.local.loading import LocalModel, local_model

WINDOW_TOKENS = 2**23
"""Number of tokens that are sorted and cut into batches together. They take 32 MiB of memory."""

W = TypeVar("W")


@dataclass(frozen=True)
class Loaded:
    """A reward model in memory."""

    compute: Compute
    dtype: str
    """The dtype, such as float32 or bfloat16, which decides how exact the scores can be."""


def scores(
    job: Job,
    rows: Rows,
    texts_of: TextsOf[W],
    read: Callable[[Iterable[tuple[bytes, W]]], Iterator[Item]],
    load: Callable[[], Loaded],
    *,
    elsewhere: Callable[[LocalModel], Loaded] | None = None,
    window_tokens: int = WINDOW_TOKENS,
) -> Iterator[list[Score]]:
    """One list per row: the Score of each of its texts. `read` tokenises texts, one Item per key, in any order.

    If the ledger lacks a score of a batch, the whole batch is computed, and only the missing scores are kept. So a
    repeated run has the same bits. When the first score is missing, the model is loaded and checked for batch
    invariance. Texts of one window are in memory. Raise ModelError if not a single text fits in memory.

    `elsewhere` is a function of a module that loads the model in another process. With it, and with a cluster in the
    job's connection, actors of the cluster compute the batches.
    """
    assert job.ledger is not None
    progress = ProgressFile(job)
    wanted = KeyedRows(rows, texts_of, job.ledger)
    failed: dict[bytes, Score] = {}
    if wanted.missing:
        failed = _computed(job, wanted, read, _Model(job, load, elsewhere), window_tokens, progress)
    progress(wanted.responses, wanted.responses)
    yield from wanted.scores(failed)


def _computed(
    job: Job,
    wanted: KeyedRows[W],
    read: Callable[[Iterable[tuple[bytes, W]]], Iterator[Item]],
    model: _Model,
    window_tokens: int,
    progress: ProgressFile,
) -> dict[bytes, Score]:
    """Bring the scores of all texts into the ledger, and return those that it does not keep."""
    assert job.ledger is not None
    failed: dict[bytes, Score] = {}
    done, is_any_final = 0, False
    with Ledger(job.ledger) as ledger, Claims(ledger, job.scorer, job.kind, job.iteration) as claims, model:

        def computed(
            open_ones: Iterator[tuple[list[Item], set[bytes]]], window: Sequence[Item]
        ) -> Iterator[tuple[list[Item], dict[bytes, Score]]]:
            for batch, mine, values in model.score(open_ones, window):
                fresh = {key: score for key, score in values.items() if key in mine}
                claims.keep_scores({key: score for key, score in fresh.items() if _is_final(score)})
                claims.release([key for key, score in fresh.items() if not _is_final(score)])
                yield batch, fresh

        for window, refused in _windows(read(wanted.once()), window_tokens):
            kept: dict[bytes, Score] = {}

            def ended(batch: Sequence[Item]) -> None:
                nonlocal done
                done += len(batch)
                progress(wanted.responses * done // wanted.distinct, wanted.responses)

            done += len(refused)
            each_once(
                [*cut(window, local_model(job).block.batch_tokens)],
                lambda batch: [item.key for item in batch],
                claims.take_scores,
                partial(computed, window=window),
                kept,
                ended,
            )
            lost = {key: score for key, score in kept.items() if not _is_final(score)}
            is_any_final = is_any_final or bool(refused) or len(lost) < len(kept)
            failed |= refused | lost
    if not is_any_final:
        raise ModelError(
            f"not one text fits in memory beside the reward model {job.scorer_path}: use another "
            "`reward.device` or `reward.dtype`"
        )
    return failed


def _windows(items: Iterable[Item], window_tokens: int) -> Iterator[tuple[list[Item], dict[bytes, Score]]]:
    """The items in pieces that fit in memory, each with the scores of those that the model cannot read."""
    window: list[Item] = []
    refused: dict[bytes, Score] = {}
    tokens = 0
    for item in items:
        if item.refused is not None:
            refused[item.key] = Score(None, item.refused)
            continue
        window.append(item)
        tokens += len(item.tokens)
        if tokens >= window_tokens:
            yield window, refused
            window, refused, tokens = [], {}, 0
    if window or refused:
        yield window, refused


def _is_final(score: Score) -> bool:
    return score.reason is None or not score.reason.startswith(GAVE_UP)


class _Model:
    """The model of a job. It is loaded and checked when it is first needed."""

    def __init__(self, job: Job, load: Callable[[], Loaded], elsewhere: Callable[[LocalModel], Loaded] | None) -> None:
        self._model = local_model(job)
        self._load = load
        self._elsewhere = elsewhere
        self._cluster = job.connection.get("cluster")
        self._computing: Computing | None = None

    def __enter__(self) -> _Model:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._computing is not None:
            self._computing.close()

    def score(
        self, batches: Iterator[tuple[list[Item], set[bytes]]], window: Sequence[Item]
    ) -> Iterator[tuple[list[Item], set[bytes], dict[bytes, Score]]]:
        """The scores of every batch, as they are finished. The check of the model takes texts of the whole window."""
        first = next(batches, None)
        if first is None:
            return
        if self._computing is None:
            self._computing = self._begun()
            check(
                self._computed,
                window,
                batch_tokens=self._model.block.batch_tokens,
                bound=self._model.block.invariance or BOUNDS.get(self._computing.facts["dtype"], BOUNDS["float32"]),
                model=self._model.path,
            )
        for (batch, mine), _, values in self._computing.map((each, each[0]) for each in chain([first], batches)):
            yield batch, mine, {item.key: _score(item, value) for item, value in zip(batch, values, strict=True)}

    def _begun(self) -> Computing:
        if self._cluster is None or self._elsewhere is None:
            return Here(Halved(self._load()))
        import torch

        block = self._model.block
        threads = block.threads or torch.get_num_threads()
        load = partial(_halved, self._elsewhere, self._model)
        return OnRay(load, **self._cluster, device=block.device, threads=threads)

    def _computed(self, batch: Sequence[Item]) -> list[float | None]:
        assert self._computing is not None
        [(_, _, values)] = self._computing.map([(None, [*batch])])
        return values  # type: ignore[no-any-return]


class Halved:
    """A reward model in memory, whose batches are halved if memory runs out."""

    def __init__(self, loaded: Loaded) -> None:
        self._compute = Halving(loaded.compute)
        self.facts = {"dtype": loaded.dtype}

    def __call__(self, batch: Sequence[Item]) -> list[float | None]:
        return self._compute(batch)


def _halved(load: Callable[[LocalModel], Loaded], model: LocalModel) -> Halved:
    return Halved(load(model))


def _score(item: Item, value: float | None) -> Score:
    if value is None:
        return Score(None, f"{GAVE_UP}no memory for {len(item.tokens)} tokens")
    return Score(value, None) if math.isfinite(value) else Score(None, "not_finite")
