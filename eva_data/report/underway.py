"""Knows by the clock what a run has done and what it has before it, and says it: rates, time left, tokens, dollars."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from eva_data.calls import StageProgress, Used
from eva_data.report.figures import dollars, duration

LINE_SECONDS = 15.0
"""Seconds between two lines of one stage where lines are all that can be shown."""

NOTHING = Used()

Step = tuple[str, int]
"""Name and iteration of a stage."""


class Left(NamedTuple):
    """The time that a run still needs."""

    seconds: float
    whole: bool
    """Whether every stage ahead is in it. A stage of a kind that has not ended yet in this run has no known time."""


@dataclass
class StageUnderway:
    """The numbers of one stage."""

    step: Step
    begun: float
    done: int | None = None
    """None until the stage tells a count."""
    total: int | None = None
    used: Used = NOTHING
    first: tuple[float, int] | None = None
    """When the first count came, and which: before it a model was loaded, and kept calls were found."""

    def tell(self, now: float, done: int, total: int, used: Used) -> None:
        """Note a count."""
        self.done, self.total, self.used = done, total, used
        if self.first is None:
            self.first = (now, done)

    def seconds(self, now: float) -> float:
        """Seconds since the stage began."""
        return max(now - self.begun, 1e-3)

    def left(self, now: float) -> float | None:
        """Seconds that the stage still needs; None while there is no rate."""
        if self.done is None or self.total is None or self.first is None or not self.done:
            return None
        since, before = self.first
        if self.done > before and now > since:
            return (self.total - self.done) * (now - since) / (self.done - before)
        return (self.total - self.done) * self.seconds(now) / self.done

    @property
    def share(self) -> float:
        """The part of the stage that is done, in [0, 1]."""
        return min(self.done / self.total, 1.0) if self.done and self.total else 0.0

    def figures(self, now: float) -> dict[str, str]:
        """`rate`, `tokens`, `dollars` and `left` in words, as far as known, or only what the stage `waits` for."""
        if self.done is None:
            return {}
        if self.used.waits:
            return {"waits": self.used.waits}
        said = {"rate": rate(self.done, self.seconds(now))} if self.done else {}
        if self.used.tokens:
            said["tokens"] = f"{self.used.tokens / self.seconds(now):,.0f} tokens/s"
        if self.used.dollars:
            said["dollars"] = dollars(self.used.dollars)
        left = self.left(now)
        return said | ({"left": f"{duration(left)} left"} if left is not None and self.done != self.total else {})


class Underway:
    """The stages of a run in their order: those that ended, the stage at work, and those ahead."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._steps: list[Step] = []
        self._place, self._reached = -1, 0.0
        self._took: dict[str, float] = {}
        self._dollars = 0.0
        self.stage: StageUnderway | None = None
        """The stage at work; None between stages."""

    def foresee(self, steps: Sequence[Step]) -> None:
        """Note the stages ahead. A stage that was not foreseen belongs to the last foreseen stage that began."""
        self._steps, self._place, self._reached = list(steps), -1, 0.0

    def begin(self, name: str, iteration: int) -> StageUnderway:
        """End the stage at work and begin another."""
        self.end()
        step = (name, iteration)
        if step in self._steps[self._place + 1 :]:
            self._place, self._reached = self._steps.index(step, self._place + 1), 0.0
        self.stage = StageUnderway(step, self.clock())
        return self.stage

    def tell(self, done: int, total: int, used: Used = NOTHING) -> None:
        """Note a count of the stage at work."""
        if self.stage is None:
            return
        self.stage.tell(self.clock(), done, total, used)
        if self._place >= 0 and self.stage.step == self._steps[self._place]:
            self._reached = max(self._reached, self.stage.share)

    def end(self) -> StageUnderway | None:
        """End the stage at work, and return it with its last numbers."""
        ended, self.stage = self.stage, None
        if ended is not None:
            self._took[_kind(ended.step)] = ended.seconds(self.clock())
            self._dollars += ended.used.dollars
        return ended

    @property
    def share(self) -> float:
        """The part of all foreseen stages that is done, in [0, 1]; every stage counts alike."""
        return (max(self._place, 0) + self._reached) / len(self._steps) if self._steps else 0.0

    @property
    def left(self) -> Left | None:
        """The time that all foreseen stages still need; None if none were foreseen, or if nothing is known of any."""
        if not self._steps:
            return None
        ahead = [self._took.get(_kind(step)) for step in self._steps[self._place + 1 :]]
        own = self._own_left() if self.stage else None
        known = [seconds for seconds in (own, *ahead) if seconds is not None]
        return Left(sum(known), len(known) == len(ahead) + 1) if known else None

    def _own_left(self) -> float | None:
        """Seconds of the stage at work: by its own rate, or before it has one by the last stage of its kind."""
        assert self.stage is not None
        left, took = self.stage.left(self.clock()), self._took.get(_kind(self.stage.step))
        return max(took - self.stage.seconds(self.clock()), 0.0) if left is None and took is not None else left

    def figures(self) -> list[str]:
        """`stage 3 of 9`, the dollars of all stages so far, and the time left; nothing if no stages were foreseen."""
        if not self._steps:
            return []
        said = [f"stage {max(self._place, 0) + 1} of {len(self._steps)}"]
        spent = self._dollars + (self.stage.used.dollars if self.stage else 0.0)
        if spent:
            said.append(dollars(spent))
        left = self.left
        if left is not None and left.seconds >= 1:
            said.append(f"{duration(left.seconds)} left" + ("" if left.whole else " or more"))
        return said


def label(step: Step) -> str:
    """`iteration 2: respond`, or the name alone if the stage belongs to no iteration."""
    name, iteration = step
    return f"iteration {iteration}: {name}" if iteration else name


def ended_line(ended: StageUnderway, now: float) -> str:
    """The line of a stage that ended: count, time, rate, tokens a second and dollars."""
    took = duration(ended.seconds(now))
    # A stage whose results were all there already tells no count.
    if ended.done is None:
        return f"{label(ended.step)}: {took}"
    of = "" if ended.done == ended.total else f" of {ended.total}"
    figures = [text for name, text in ended.figures(now).items() if name != "left"]
    return ", ".join([f"{label(ended.step)}: {ended.done}{of} in {took}", *figures])


def lines_of(underway: Underway, name: str, iteration: int, say: Callable[[str], None]) -> StageProgress:
    """Begin a stage and say so in a line. The result says a line at the end of the stage, and now and then before."""
    stage = underway.begin(name, iteration)
    head, place = label(stage.step), ", ".join(underway.figures())
    say(f"{head} ({place})" if place else head)
    said = underway.clock()

    def tell(done: int, total: int, used: Used = NOTHING, /) -> None:
        nonlocal said
        if underway.stage is stage:
            underway.tell(done, total, used)
        now = underway.clock()
        if done < total and now - said < LINE_SECONDS:
            return
        said = now
        say(", ".join([f"{head}: {done}/{total}", *stage.figures(now).values()]))

    return tell


def rate(done: int, seconds: float) -> str:
    """`8.4/s`, or for slower things `28.7 s each`."""
    return f"{seconds / done:.1f} s each" if 0 < done < seconds else f"{done / seconds:.1f}/s"


def _kind(step: Step) -> str:
    """Stages of one kind take about the same time: the solver answers in `estimate` as in `respond`."""
    name = "respond" if step[0] == "estimate" else step[0]
    return name.partition(" answers ")[2] or name
