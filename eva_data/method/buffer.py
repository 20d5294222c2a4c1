"""The prioritized generative buffer: which prompts the next online step trains on (paper 3.3.2, appendix A).

There are three phases. *Warm-up*: every batch comes from the seeds, and its evolved prompts fill the buffer. *Mix-up*
begins once the buffer has been full: a share of every batch is drawn from it, and the rest comes from the seeds.
*Bootstrap* begins once every seed has been trained on: every batch comes from the buffer. In each step the most
informative half of the batch is evolved. The evolved prompts enter the buffer, and the prompts of the batch leave it.
Then the oldest prompts leave until the buffer is no larger than its capacity.

The paper's numbers (16 new prompts a step, 3200 in the buffer, 400 steps of warm-up) do not agree: 16 prompts a step
fill a buffer of 3200 in 200 steps. This module follows the sizes; the number of steps results from them.

The paper leaves some points open. Here, seeds are drawn without replacement, in an order by keyed hash. Prompts of
weight 0 are drawn only when the prompts with a positive weight run out, and all of them are equally likely. If the
buffer cannot fill its part of a batch, a further pass over the seeds fills it. Everything here is a function of plain
values. A draw depends on (seed, step, prompt) alone, neither on the order of the entries nor on a random state.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from eva_data.tables.draws import share_of

Phase: TypeAlias = Literal["warm-up", "mix-up", "bootstrap"]


@dataclass(frozen=True)
class Rules:
    """Sizes of the game; the defaults are the paper's."""

    batch: int = 8
    """Prompts per step."""
    evolved: float = 0.5
    """Share of each batch that is evolved; the most informative prompts are taken."""
    n_new: int = 4
    """Evolutions of each of these prompts."""
    n_new_bootstrap: int = 2
    """The same once the seeds are used up: 4 of 8 prompts give 2 each, so as many enter the buffer as leave it."""
    capacity: int = 3200
    from_buffer: float = 0.5
    """Share of a mix-up batch that is drawn from the buffer."""


@dataclass(frozen=True)
class Entry:
    """An evolved prompt that waits to be trained on."""

    prompt_id: str
    priority: float
    """Weight of the draw, finite and at least 0."""
    entered: int
    """The step in which it was evolved."""


@dataclass(frozen=True)
class State:
    """Everything that the next batch depends on; `dump` and `load` turn it into plain values and back, exactly."""

    entries: tuple[Entry, ...] = ()
    """Ordered by (entered, prompt_id): the oldest first."""
    seeds_used: int = 0
    """Seeds drawn so far, over all passes."""
    warm: bool = False
    """Whether the buffer has once been full."""

    def dump(self) -> dict[str, Any]:
        return {"entries": [asdict(entry) for entry in self.entries]} | {
            "seeds_used": self.seeds_used,
            "warm": self.warm,
        }

    @classmethod
    def load(cls, values: Mapping[str, Any]) -> State:
        return cls(**(dict(values) | {"entries": tuple(Entry(**entry) for entry in values["entries"])}))


@dataclass(frozen=True)
class Batch:
    """The prompts of one step, by id, each once."""

    phase: Phase
    from_buffer: tuple[str, ...]
    from_seeds: tuple[str, ...]
    n_new: int
    """Evolutions of each evolved prompt of the batch."""
    seeds_used: int
    """Seeds drawn up to and with this batch, over all passes."""

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        return self.from_buffer + self.from_seeds


def phase_of(state: State, seeds: int) -> Phase:
    """The phase of the next step; `seeds` is the number of all seeds."""
    if state.seeds_used >= seeds:
        return "bootstrap"
    return "mix-up" if state.warm else "warm-up"


def next_batch(state: State, seeds: tuple[str, ...], rules: Rules, *, seed: int, step: int) -> Batch:
    """The prompts of step `step`. `seeds` are all seed ids, at least one, in any order.

    A batch holds `rules.batch` prompts, or fewer if there are not so many different prompts.
    """
    phase = phase_of(state, len(seeds))
    wanted = {"warm-up": 0, "mix-up": share_of(rules.from_buffer, rules.batch), "bootstrap": rules.batch}[phase]
    left = max(len(seeds) - state.seeds_used, 0)
    wanted = max(wanted, rules.batch - left)
    drawn = _weighted(state.entries, wanted, seed=seed, step=step)
    fresh, used = _seeds_from(state.seeds_used, rules.batch - len(drawn), seeds, seed=seed)
    return Batch(phase, drawn, fresh, rules.n_new_bootstrap if phase == "bootstrap" else rules.n_new, used)


def static_batch(state: State, seeds: tuple[str, ...], rules: Rules, *, seed: int) -> Batch:
    """The prompts of a step without a buffer: the next seeds in the same order, pass after pass. None is evolved."""
    fresh, used = _seeds_from(state.seeds_used, rules.batch, seeds, seed=seed)
    return Batch("warm-up", (), fresh, 0, used)


def further(
    state: State, batch: Batch, seeds: tuple[str, ...], rules: Rules, count: int, *, seed: int, step: int
) -> Batch:
    """The batch with `count` more prompts, which follow its own in their draws, or fewer if there are not so many.

    The new prompts come from the buffer and from the seeds in the shares of the batch's phase.
    """
    tried = set(batch.prompt_ids)
    wanted = {"warm-up": 0, "mix-up": share_of(rules.from_buffer, count), "bootstrap": count}[batch.phase]
    wanted = max(wanted, count - max(len(seeds) - batch.seeds_used, 0))
    waiting = [entry for entry in state.entries if entry.prompt_id not in tried]
    drawn = _weighted(waiting, wanted, seed=seed, step=step)
    fresh, used = _seeds_from(batch.seeds_used, count - len(drawn), seeds, seed=seed, without=tried)
    return replace(batch, from_buffer=batch.from_buffer + drawn, from_seeds=batch.from_seeds + fresh, seeds_used=used)


def to_evolve(batch: Batch, informativeness: Mapping[str, float | None], rules: Rules) -> tuple[str, ...]:
    """The most informative prompts of a batch; ties go by id. A prompt without informativeness is never evolved."""
    known = {name: value for name in batch.prompt_ids if (value := informativeness.get(name)) is not None}
    ranked = sorted(known, key=lambda name: (-known[name], name))
    return tuple(ranked[: share_of(rules.evolved, min(len(batch.prompt_ids), rules.batch))])


def after_step(state: State, batch: Batch, evolved: Iterable[tuple[str, float]], rules: Rules, *, step: int) -> State:
    """The state after the training on `batch`. `evolved` are the new prompts, as pairs of prompt id and priority.

    The prompts of the batch leave the buffer. Then the oldest leave until `rules.capacity` are left; among prompts of
    one step, the smaller id leaves first.
    """
    trained = set(batch.prompt_ids)
    kept = {entry.prompt_id: entry for entry in state.entries if entry.prompt_id not in trained}
    for name, priority in evolved:
        if not (math.isfinite(priority) and priority >= 0):
            raise ValueError(f"the priority of {name} is {priority}: expected a finite number of at least 0")
        if name not in trained:
            kept.setdefault(name, Entry(name, priority, step))
    entries = sorted(kept.values(), key=lambda entry: (entry.entered, entry.prompt_id))
    full = len(entries) >= rules.capacity
    newest = tuple(entries[max(len(entries) - rules.capacity, 0) :])
    return State(newest, batch.seeds_used, state.warm or full)


def unit_draw(*parts: object) -> float:
    """A number in (0, 1) that depends on `parts` alone; uniform over them, 53 bits."""
    text = "\x1f".join(map(str, parts))
    bits = int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 11
    return (bits + 0.5) / 2.0**53


def _weighted(entries: Sequence[Entry], count: int, *, seed: int, step: int) -> tuple[str, ...]:
    """Draw `count` entries, or all if there are fewer, without replacement by weight (Efraimidis and Spirakis 2006).

    The key is log(u) / weight, and the largest keys go first. Entries of weight 0 follow in the order of u.
    """

    def key(entry: Entry) -> tuple[bool, float, str]:
        u = unit_draw(seed, "online", step, entry.prompt_id)
        return entry.priority == 0, -math.log(u) / (entry.priority or 1.0), entry.prompt_id

    return tuple(entry.prompt_id for entry in sorted(entries, key=key)[:count])


def _seeds_from(
    used: int, count: int, seeds: tuple[str, ...], *, seed: int, without: Collection[str] = ()
) -> tuple[tuple[str, ...], int]:
    """The next `count` different seeds after the first `used`, over as many passes as needed, and the new `used`.

    Seeds in `without` are passed by.
    """
    chosen: dict[str, None] = {}
    there = len(seeds) - len({*seeds}.intersection(without)) if without else len(seeds)
    while len(chosen) < min(count, there):
        through, place = divmod(used, len(seeds))
        name = _order(seeds, through, seed)[place]
        if name not in without:
            chosen.setdefault(name)
        used += 1
    return tuple(chosen), used


@lru_cache(maxsize=2)
def _order(seeds: tuple[str, ...], through: int, seed: int) -> list[str]:
    """The seeds in the order of one pass; the first pass is 0."""
    return sorted(seeds, key=lambda name: (unit_draw(seed, "seeds", through, name), name))
