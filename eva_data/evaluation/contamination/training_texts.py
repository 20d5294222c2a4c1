"""What theta_t was trained on, as texts: the prompts of X_1 to X_t, their chosen responses, and their ancestors.

An ancestor is a prompt from which a prompt of X_1 to X_t was evolved, but which is in none of them: a sampled seed that
was not carried over, or a step of a chain that was not mixed in. Who evaluates on a paraphrase of it evaluates on what
its descendants taught.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from eva_data.dataset.store import Store
from eva_data.errors import EvaError
from eva_data.iteration.heldout import split_seeds
from eva_data.iteration.run import Run

CHOSEN, ANCESTOR = "chosen", "ancestor"
"""Kinds of texts beside the origins of prompts, `seed` and `evolved`."""

TRAINING_TEXTS = pl.Schema({"id": pl.String, "root": pl.String, "kind": pl.String, "text": pl.String})
"""One row per text. `id` is the prompt's id, also of a chosen response; `root` is the seed of its lineage."""

_BATCH = 20_000

_EDGES = pl.Schema({"prompt_id": pl.String, "parent_id": pl.String, "root_id": pl.String})


def user_turns(prompt: pl.Expr) -> pl.Expr:
    """The user turns of a conversation as one text."""
    turn = pl.element()
    return prompt.list.eval(turn.filter(turn.struct.field("role") == "user").struct.field("content")).list.join("\n")


@dataclass
class TrainingTexts:
    """The texts behind theta_t, part by part, so that only a part is in memory."""

    run: Run
    until: int
    """t of theta_t."""
    notes: list[str] = field(default_factory=list)
    """What could not be read, after all parts were."""

    @property
    def store(self) -> Store:
        return self.run.store

    def iterations(self) -> list[int]:
        """The iterations that theta_t was trained on."""
        return [number for number in self.store.iterations() if number <= self.until]

    def parts(self) -> Iterator[pl.DataFrame]:
        """TRAINING_TEXTS, about _BATCH rows at a time. A text that stays from one iteration to the next comes once."""
        yield from trained_texts(self.store, self.iterations())
        yield from self._ancestors()

    def _ancestors(self) -> Iterator[pl.DataFrame]:
        iterations = self.iterations()
        if not iterations:
            return
        trained = _union([self.store.scan("prompts", number).select("prompt_id") for number in iterations]).unique()
        edges = self.edges()
        wanted = _upwards(edges, trained)
        if wanted.is_empty():
            return
        attempts = [
            self.store.scan("evolutions", number)
            .filter(pl.col("prompt").is_not_null())
            .select(id="prompt_id", root="root_id", kind=pl.lit(ANCESTOR), text=user_turns(pl.col("prompt")))
            for number in iterations
        ]
        found = 0
        steps = _union(attempts).join(wanted.lazy(), left_on="id", right_on="prompt_id", how="semi").unique("id")
        for batch in _batches(steps):
            found += batch.height
            yield batch
        for batch in self._seeds(wanted):
            found += batch.height
            yield batch
        if found < wanted.height:
            self.notes[:] = [
                f"{wanted.height - found} of {wanted.height} prompts from which training prompts were evolved could "
                "not be read, and were not compared"
            ]

    def _seeds(self, wanted: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """The wanted seeds, out of the source that the settings name."""
        config = self.run.config
        if config.seeds is None:
            return
        try:
            seeds = split_seeds(config, self.store, self.store.manifest(self.iterations()[0]).inputs).training
        except EvaError:
            # The source is gone, which the note says by the number of prompts that are missing.
            return
        rows = seeds.join(wanted, on="prompt_id", how="semi")
        yield from rows.select(
            id="prompt_id", root="prompt_id", kind=pl.lit(ANCESTOR), text=user_turns(pl.col("prompt"))
        ).iter_slices(_BATCH)

    def edges(self) -> pl.DataFrame:
        """`prompt_id`, `parent_id` and `root_id` of every prompt of these iterations that was evolved."""
        found = [
            self.store.scan(table, number)
            .filter(pl.col("prompt_id").is_not_null() & pl.col("parent_id").is_not_null())
            .select(_EDGES.names())
            for number in self.iterations()
            for table in ("prompts", "evolutions")
        ]
        return _union(found).unique().collect() if found else pl.DataFrame(schema=_EDGES)

    def descendants(self, ids: Sequence[str]) -> int:
        """How many prompts of X_1 to X_t are among `ids`, or were evolved from one of them."""
        iterations = self.iterations()
        if not ids or not iterations:
            return 0
        edges = self.edges().select("prompt_id", "parent_id").unique()
        reached = pl.DataFrame({"prompt_id": list(ids)}, schema={"prompt_id": pl.String}).unique()
        front = reached
        while front.height:
            below = edges.join(front, left_on="parent_id", right_on="prompt_id", how="semi").select("prompt_id")
            front = below.unique().join(reached, on="prompt_id", how="anti")
            reached = pl.concat([reached, front])
        trained = _union([self.store.scan("prompts", number).select("prompt_id") for number in iterations]).unique()
        return int(trained.join(reached.lazy(), on="prompt_id", how="semi").select(pl.len()).collect().item())


def trained_texts(store: Store, iterations: Sequence[int]) -> Iterator[pl.DataFrame]:
    """TRAINING_TEXTS of the prompts and chosen responses of some iterations, in parts."""
    for place, iteration in enumerate(iterations):
        prompts = store.scan("prompts", iteration)
        if place:
            prompts = prompts.filter(pl.col("mix_role") != "carried")
        yield from _batches(
            prompts.select(id="prompt_id", root="root_id", kind="origin", text=user_turns(pl.col("prompt")))
        )
        response = pl.col("chosen").list.last().struct.field("content")
        pairs = store.scan("preferences", iteration)
        yield from _batches(pairs.select(id="prompt_id", root="root_id", kind=pl.lit(CHOSEN), text=response))


def _upwards(edges: pl.DataFrame, trained: pl.LazyFrame) -> pl.DataFrame:
    """`prompt_id` of the ancestors of trained prompts that are not trained prompts themselves."""
    known = trained.collect()
    reached, front = known, known
    while front.height:
        parents = edges.join(front, on="prompt_id", how="semi").select(prompt_id="parent_id").unique()
        front = parents.join(reached, on="prompt_id", how="anti")
        reached = pl.concat([reached, front])
    return reached.join(known, on="prompt_id", how="anti")


def _batches(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    for batch in rows.cast(dict(TRAINING_TEXTS)).collect_batches(chunk_size=_BATCH, maintain_order=True):  # type: ignore[arg-type]
        if batch.height:
            yield batch.filter(pl.col("text").is_not_null())


def _union(frames: list[pl.LazyFrame]) -> pl.LazyFrame:
    return pl.concat(frames)
