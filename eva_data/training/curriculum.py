"""The prompts of an online run, step by step: a batch goes out, scored answers come back, and new prompts are evolved.

`buffer` decides which prompts a step trains on. This module holds the prompts themselves, runs the creator's chains,
and writes the record of everything that happened, from which the run's dataset is made. A resumed run needs only the
state of the curriculum and the record up to it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl

from eva_data.calls import FinishReason, Row
from eva_data.config import Estimate, Pair
from eva_data.errors import ConfigError
from eva_data.method.buffer import Batch, Rules, State, after_step, further, next_batch, static_batch, to_evolve
from eva_data.method.estimate import without_noise
from eva_data.method.signals.band import Band, refuse_graded
from eva_data.method.signals.own_metric import own_metric
from eva_data.method.solved import Bar, graded, needed, threshold
from eva_data.tables.metrics import METRICS

Evolver: TypeAlias = Callable[[Sequence[Row], int, int, Sequence[Row], frozenset[str]], list[Row]]
"""(parents, evolutions of each, step, prompts to compare with, all ids) -> rows of EVOLUTIONS after elimination."""

Estimator: TypeAlias = Callable[[Sequence[Row], int], "dict[str, list[Answer]]"]
"""(prompts, step) -> id of a prompt -> the policy's answers to it."""


@dataclass(frozen=True)
class Answer:
    """A response of the policy to a prompt of the batch, with its reward in the training."""

    prompt_id: str
    text: str
    reward: float | None
    reason: str | None
    """Why there is no reward; None if there is one."""
    finish_reason: FinishReason
    tokens: int | None


@dataclass(frozen=True)
class Selection:
    """By what prompts become parents: the informativeness, and what their responses must reach."""

    estimate: Estimate
    pair: Pair
    max_depth: int | None = None
    """Depth of the deepest prompts, which are not evolved."""
    band: tuple[float, float] | None = None
    """`sample.band`: bounds on the pass rates of prompts that may have children."""

    def measured(self, answers: Mapping[str, Sequence[Answer]]) -> dict[str, float | None]:
        """Id of a prompt -> `estimate.metric`; None if fewer than two rewards count, as in `estimate`."""
        own = own_metric(self.estimate.metric)
        rewards = without_noise(pl.col("rewards"))
        value = METRICS[self.estimate.metric](rewards) if own is None else own.value(rewards)
        return dict(zip(answers, self._rewards(answers).select(value).to_series(), strict=True))

    def unsolved(self, answers: Mapping[str, Sequence[Answer]], seen: Seen) -> set[str]:
        """The prompts of which too few responses are good, by all that was seen up to and with these answers."""
        best = threshold(self.estimate, self.pair, pl.Series(seen.first_best, dtype=pl.Float64))
        if best is None:
            return set()
        responses = max(map(len, answers.values()), default=0)
        bar = Bar(best, needed(self.estimate, seen.graded, responses))
        reached = self._rewards(answers).select(bar.reached(pl.col("rewards"))).to_series()
        return {name for name, good in zip(answers, reached, strict=True) if not good}

    def outside(self, answers: Mapping[str, Sequence[Answer]], seen: Seen) -> dict[str, str]:
        """Id -> too_easy or too_hard, of the prompts outside the band. Raise ConfigError if rewards are graded."""
        refuse_graded(self.band, graded=seen.graded)
        if self.band is None:
            return {}
        rewards = pl.col("rewards")
        table = self._rewards(answers).select(n_scored=rewards.list.len(), reward_mean=rewards.list.mean())
        reasons = table.select(Band(*self.band, relative=False).reason()).to_series()
        return {name: reason for name, reason in zip(answers, reasons, strict=True) if reason is not None}

    def see(self, seen: Seen, answers: Mapping[str, Sequence[Answer]], seeds: Iterable[str]) -> Seen:
        """What is known of rewards after these answers; `seeds` are the seeds that were answered first now."""
        first = {name: answers[name] for name in seeds}
        best = self._rewards(first).select(pl.col("rewards").list.max()).to_series().drop_nulls()
        rewards = self._rewards(answers).explode("rewards")["rewards"]
        return Seen([*seen.first_best, *best], seen.graded or graded(rewards))

    def _rewards(self, answers: Mapping[str, Sequence[Answer]]) -> pl.DataFrame:
        """`rewards` of each prompt, in ascending order: those that count."""
        truncated = self.estimate.count_truncated
        rewards = [
            sorted(a.reward for a in given if a.reward is not None and (truncated or a.finish_reason == "stop"))
            for given in answers.values()
        ]
        return pl.DataFrame({"rewards": rewards}, schema={"rewards": pl.List(pl.Float64)})


@dataclass(frozen=True)
class Seen:
    """What an online run knows of its rewards so far."""

    first_best: list[float] = field(default_factory=list)
    """The best reward of each seed when it was answered first, in order."""
    graded: bool = False
    """Whether a reward was neither 0 nor 1."""


@dataclass
class Curriculum:
    """Decides which prompts an online run trains on; see `buffer` for the rules."""

    seeds: Mapping[str, Row]
    """Id -> row of PROMPTS."""
    rules: Rules
    seed: int
    selection: Selection
    record: Path | None
    """File of JSON lines, one per step: its prompts, answers and evolutions. None if another process writes it."""
    evolve: Evolver | None
    """None for a static run, which trains by the same algorithm on the seeds alone."""
    estimate: Estimator | None = None
    """Answers new prompts, for their priorities. If it is None, a prompt inherits its parent's informativeness."""
    only_high: bool = False
    """Whether a new prompt enters the buffer only if its own informativeness is high (ACCEL, Parker-Holder et al. 2022;
    paper: appendix I.1.2): it is solved and above 0, and no lower than the least of the prompts that were evolved with
    its parent. The papers do not say what is high; this bound is ours. It needs an `estimate`."""
    seen: Seen = field(default_factory=Seen)
    state: State = field(default_factory=State)
    waiting: dict[str, Row] = field(default_factory=dict)
    """Id -> row of PROMPTS, for the prompts in the buffer."""
    made: set[str] = field(default_factory=set)
    """Ids of all evolved prompts so far."""
    recorded: int = 0
    """Number of bytes of the record that belong to finished steps."""
    generated: int = 0
    """Number of responses that were generated so far, those to new prompts included."""
    step: int = 0
    """The last step whose batch went out, counted from 1."""
    batch: Batch | None = None

    def __post_init__(self) -> None:
        if len(self.seeds) < self.rules.batch:
            raise ConfigError(
                f"{len(self.seeds)} seeds can be trained on, fewer than the {self.rules.batch} prompts of a step: add "
                "seeds, or lower `prompts` or raise `max_prompt_length` in the recipe"
            )

    def begin(self, step: int) -> list[Row]:
        """The prompts of a step, as rows of PROMPTS."""
        ids = tuple(self.seeds)
        if self.evolve is None:
            self.batch = static_batch(self.state, ids, self.rules, seed=self.seed)
        else:
            self.batch = next_batch(self.state, ids, self.rules, seed=self.seed, step=step)
        self.step = step
        return self._rows(self.batch.prompt_ids)

    def more(self, count: int, *, multiple: int = 1) -> list[Row]:
        """Further prompts for the present step, whose batch they join: `count`, rounded up to a `multiple`.

        There are fewer, still of that multiple, if there are not so many prompts.
        """
        assert self.batch is not None
        wanted = -(-count // multiple) * multiple
        while wanted:
            longer = further(
                self.state, self.batch, tuple(self.seeds), self.rules, wanted, seed=self.seed, step=self.step
            )
            new = [name for name in longer.prompt_ids if name not in set(self.batch.prompt_ids)]
            if len(new) % multiple == 0:
                self.batch = longer
                return self._rows(new)
            wanted = len(new) // multiple * multiple
        return []

    def finish(self, answers: Sequence[Answer], trained: Sequence[str] | None = None, rounds: int = 0) -> None:
        """End the present step: evolve its most informative prompts, move the buffer on, and record the step.

        `trained` are the ids of the prompts whose answers were trained on, None for the whole batch. `rounds` says how
        often prompts were replaced.
        """
        assert self.batch is not None
        batch, answered = self._rows(self.batch.prompt_ids), _by_prompt(self.batch, answers)
        self.generated += len(answers)
        informative = self.selection.measured(answered)
        # After the first pass through the seeds, none is answered for the first time.
        new = self.batch.from_seeds[: max(len(self.seeds) - self.state.seeds_used, 0)]
        self.seen = self.selection.see(self.seen, answered, new)
        unsolved = self.selection.unsolved(answered, self.seen)
        outside = self.selection.outside(answered, self.seen)
        barred = unsolved | outside.keys()
        parents = to_evolve(self.batch, self._trainable(informative, barred), self.rules) if self.evolve else ()
        attempts = self._evolved(parents)
        survived = [row for row in attempts if row["status"] is None]
        fresh = {row["prompt_id"]: _prompt(row, self._row(row["chain_id"])) for row in survived}
        entering, own = self._entering(survived, [*fresh.values()], informative)
        if wrong := [value for _, value in entering if not (math.isfinite(value) and value >= 0)]:
            raise ConfigError(
                f"`estimate.metric` is `{self.selection.estimate.metric}`, which is {wrong[0]:g} for a prompt: online "
                "it is the weight of a draw, so use a metric that is never below 0, such as `a_avg` or `var`"
            )
        self.state = after_step(self.state, self.batch, entering, self.rules, step=self.step)
        self.made |= fresh.keys()
        kept = self.waiting | fresh
        self.waiting = {entry.prompt_id: kept[entry.prompt_id] for entry in self.state.entries}
        self._write(
            {
                "step": self.step,
                "phase": self.batch.phase,
                "prompts": batch,
                "answers": [asdict(answer) for answers in answered.values() for answer in answers],
                "informativeness": informative,
                "unsolved": sorted(unsolved),
                "outside": outside,
                "evolutions": attempts,
                "estimated": own,
                "trained": [*(self.batch.prompt_ids if trained is None else trained)],
                "rounds": rounds,
                "generated": self.generated,
                "waiting": len(self.waiting),
            }
        )
        self.batch = None

    def dump(self) -> dict[str, Any]:
        """The state between two steps, as plain values."""
        return {
            "buffer": self.state.dump(),
            "waiting": list(self.waiting.values()),
            "made": sorted(self.made),
            "recorded": self.recorded,
            "step": self.step,
            "seen": asdict(self.seen),
            "generated": self.generated,
        }

    def load(self, values: Mapping[str, Any]) -> None:
        """Go on from a state of `dump`. Later lines of the record are overwritten."""
        self.state = State.load(values["buffer"])
        self.waiting = {row["prompt_id"]: row for row in values["waiting"]}
        self.made = set(values["made"])
        self.recorded, self.step = values["recorded"], values["step"]
        self.seen, self.generated = Seen(**values["seen"]), values["generated"]

    def _row(self, name: str) -> Row:
        return self.waiting.get(name) or self.seeds[name]

    def _rows(self, names: Iterable[str]) -> list[Row]:
        return [self._row(name) for name in names]

    def _trainable(self, informative: Mapping[str, float | None], barred: Collection[str]) -> dict[str, float | None]:
        """The informativeness of the prompts that may have children: not those `barred`, nor the deepest."""
        deepest = self.selection.max_depth
        deep = {row["prompt_id"] for row in self._rows(informative) if deepest is not None and row["depth"] >= deepest}
        return {name: value for name, value in informative.items() if name not in barred and name not in deep}

    def _entering(
        self, survived: Sequence[Row], fresh: Sequence[Row], informative: Mapping[str, float | None]
    ) -> tuple[list[tuple[str, float]], dict[str, float | None]]:
        """(id, priority) of each new prompt that enters the buffer, and all informativeness that was estimated."""
        inherited = {row["prompt_id"]: informative[row["chain_id"]] or 0.0 for row in survived}
        if self.estimate is None or not fresh:
            return [*inherited.items()], {}
        answers = self.estimate(fresh, self.step)
        self.generated += sum(map(len, answers.values()))
        own = self.selection.measured(answers)
        unsolved = self.selection.unsolved(answers, self.seen)
        least = min(inherited.values(), default=0.0)
        high = {name for name, value in own.items() if value and value >= least and name not in unsolved}
        outside = self.selection.outside(answers, self.selection.see(self.seen, answers, ()))
        inside = {name: value for name, value in own.items() if name not in outside}
        entering = [(name, value or 0.0) for name, value in inside.items() if name in high or not self.only_high]
        return entering, own

    def _evolved(self, parents: Sequence[str]) -> list[Row]:
        if self.evolve is None or self.batch is None or not parents:
            return []
        alive = [*self.waiting.values(), *self._rows(self.batch.from_seeds)]
        exist = frozenset(self.made | self.seeds.keys())
        return self.evolve(self._rows(parents), self.batch.n_new, self.step, alive, exist)

    def _write(self, line: Mapping[str, Any]) -> None:
        if self.record is None:
            return
        text = json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n"
        self.record.touch()
        with self.record.open("r+b") as file:
            file.truncate(self.recorded)
            file.seek(self.recorded)
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
            self.recorded = file.tell()


def differ(answers: Sequence[Answer]) -> bool:
    """Whether two of the rewards differ by more than noise, so that an advantage among them is not 0."""
    rewards = sorted(answer.reward for answer in answers if answer.reward is not None)
    table = pl.DataFrame({"rewards": [rewards]}, schema={"rewards": pl.List(pl.Float64)})
    return bool(table.select(METRICS["a_min"](without_noise(pl.col("rewards"))).fill_null(0.0) > 0).item())


def _by_prompt(batch: Batch, answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    found: dict[str, list[Answer]] = {name: [] for name in batch.prompt_ids}
    for answer in answers:
        found[answer.prompt_id].append(answer)
    return found


def _prompt(evolution: Row, sampled: Row) -> Row:
    """A surviving evolution as a row of PROMPTS."""
    return {
        "prompt_id": evolution["prompt_id"],
        "prompt": evolution["prompt"],
        "origin": "evolved",
        "mix_role": "evolved",
        "created_iteration": sampled["created_iteration"],
        "iteration": sampled["iteration"],
        "parent_id": evolution["parent_id"],
        "root_id": evolution["root_id"],
        "depth": evolution["depth"],
        "mutation": evolution["mutation"],
        "creator": evolution["creator"],
        "source": sampled["source"],
    }
