"""The prioritized generative buffer: which prompts the next online step trains on (paper 3.3.2, appendix A).

Three phases. *Warm-up*: every batch comes from the seeds, and what is evolved of it fills the buffer. *Mix-up*, once
the buffer has been full: a share of every batch is drawn from it, the rest comes from the seeds. *Bootstrap*, once
every seed has been trained on: the buffer alone. In each step the most informative half of the batch is evolved;
evolved prompts enter, trained ones leave, and then the oldest until the buffer is no larger than its capacity.

The paper's numbers (16 new prompts a step, 3200 in the buffer, 400 steps of warm-up) do not agree: 16 a step fill
3200 in 200 steps. The sizes are followed here, the number of steps is what comes of them.

Where the paper is silent: seeds are drawn without replacement, in an order by keyed hash. Prompts of weight 0 are
drawn only when those with a positive one run out, all of them equally likely. Where the buffer cannot fill its part,
a further pass over the seeds does. Everything here is a function of plain values; a draw belongs to (seed, step,
prompt), so it depends neither on the order of the entries nor on a random state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
    """Share of each batch, the most informative, that is evolved."""
    n_new: int = 4
    """Evolutions of each of them."""
    n_new_bootstrap: int = 2
    """The same once the seeds are used up: half of 8, twice, is as many as leave."""
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
    """All that the next batch depends on; `dump` and `load` make it JSON and back, exactly."""

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
    """Evolutions of each prompt of the batch that is evolved."""
    seeds_used: int
    """Seeds drawn once this batch is, over all passes."""

    @property
    def prompt_ids(self) -> tuple[str, ...]:
        return self.from_buffer + self.from_seeds


def phase_of(state: State, seeds: int) -> Phase:
    """The phase of the next step, with so many seeds in all."""
    if state.seeds_used >= seeds:
        return "bootstrap"
    return "mix-up" if state.warm else "warm-up"


def next_batch(state: State, seeds: tuple[str, ...], rules: Rules, *, seed: int, step: int) -> Batch:
    """The prompts of step `step`; `seeds` are all seed ids, in any order, at least one.

    A batch holds `rules.batch` prompts, or fewer where there are not so many different ones.
    """
    phase = phase_of(state, len(seeds))
    wanted = {"warm-up": 0, "mix-up": share_of(rules.from_buffer, rules.batch), "bootstrap": rules.batch}[phase]
    left = max(len(seeds) - state.seeds_used, 0)
    wanted = max(wanted, rules.batch - left)
    drawn = _weighted(state.entries, wanted, seed=seed, step=step)
    fresh, used = _seeds_from(state.seeds_used, rules.batch - len(drawn), seeds, seed=seed)
    return Batch(phase, drawn, fresh, rules.n_new_bootstrap if phase == "bootstrap" else rules.n_new, used)


def static_batch(state: State, seeds: tuple[str, ...], rules: Rules, *, seed: int) -> Batch:
    """The prompts of a step without a buffer: the next seeds of the same order, pass after pass, none evolved."""
    fresh, used = _seeds_from(state.seeds_used, rules.batch, seeds, seed=seed)
    return Batch("warm-up", (), fresh, 0, used)


def to_evolve(batch: Batch, informativeness: Mapping[str, float | None], rules: Rules) -> tuple[str, ...]:
    """The most informative prompts of a batch, equal ones by id; one without informativeness is never among them."""
    known = {name: value for name in batch.prompt_ids if (value := informativeness.get(name)) is not None}
    ranked = sorted(known, key=lambda name: (-known[name], name))
    return tuple(ranked[: share_of(rules.evolved, len(batch.prompt_ids))])


def after_step(state: State, batch: Batch, evolved: Iterable[tuple[str, float]], rules: Rules, *, step: int) -> State:
    """The state after `batch` was trained on and `evolved`, pairs of prompt id and priority, came of it.

    Trained ones leave, then the oldest until `rules.capacity` are left, among those of one step the smaller id first.
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
    """A number in (0, 1) that belongs to `parts`; uniform over them, 53 bits."""
    text = "\x1f".join(map(str, parts))
    bits = int.from_bytes(sha256(text.encode()).digest()[:8], "big") >> 11
    return (bits + 0.5) / 2.0**53


def _weighted(entries: Sequence[Entry], count: int, *, seed: int, step: int) -> tuple[str, ...]:
    """`count` entries, or all of fewer, without replacement by weight (Efraimidis and Spirakis 2006).

    The key is log(u) / weight, the largest go first; entries of weight 0 follow in the order of u.
    """

    def key(entry: Entry) -> tuple[bool, float, str]:
        u = unit_draw(seed, "online", step, entry.prompt_id)
        return entry.priority == 0, -math.log(u) / (entry.priority or 1.0), entry.prompt_id

    return tuple(entry.prompt_id for entry in sorted(entries, key=key)[:count])


def _seeds_from(used: int, count: int, seeds: tuple[str, ...], *, seed: int) -> tuple[tuple[str, ...], int]:
    """The next `count` different seeds after the first `used`, over as many passes as it takes, and the new `used`."""
    chosen: dict[str, None] = {}
    while len(chosen) < min(count, len(seeds)):
        through, place = divmod(used, len(seeds))
        chosen.setdefault(_order(seeds, through, seed)[place])
        used += 1
    return tuple(chosen), used


@lru_cache(maxsize=2)
def _order(seeds: tuple[str, ...], through: int, seed: int) -> list[str]:
    """The seeds in the order of one pass, the first being 0."""
    return sorted(seeds, key=lambda name: (unit_draw(seed, "seeds", through, name), name))
