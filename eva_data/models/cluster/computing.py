"""Computes batches in this process, or by several actors of a Ray cluster at once; which of them changes no result.

Only batches and results travel. The process that cuts the batches looks into the ledger before, and writes into it
after. So a batch that is lost with its actor is computed by another, and a batch that is finished is not computed
again. Nothing of this process's environment is given to the cluster, and so no key is.
"""

from __future__ import annotations

import importlib.metadata
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import eva_data
from eva_data.errors import EvaError, ModelError
from eva_data.models.cluster.connecting import connected, knock

T = TypeVar("T")

AHEAD = 2
"""Batches that an actor has at once, so that it need not wait for the next."""
MOST_DEATHS = 3
"""A batch that was lost with its actor so often is not tried again. It may be what ends them."""
LOOK_SECONDS = 5.0
"""Seconds between two looks at the head of the cluster."""
GONE_SECONDS = 30.0
"""A head that was not there for so many seconds is gone. Ray itself would end this process after a minute."""
_COMPARED = ("torch", "transformers", "tokenizers")
"""Packages whose versions decide what a model computes."""


class BatchModel(Protocol):
    """A model in memory that computes batches."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its user must know about the model, as plain values."""

    def __call__(self, batch: Any) -> Any:
        """The result of a batch, which depends on the batch alone."""


class Computing(Protocol):
    """Something that computes batches."""

    facts: Mapping[str, Any]
    """The model's facts."""

    def map(self, batches: Iterable[tuple[T, Any]]) -> Iterator[tuple[T, float, Any]]:
        """Compute the second member of each pair. Return the first, the seconds that it took, and the result.

        Results come as they are finished. The pairs are taken one by one, only a few more than are finished.
        """

    def close(self) -> None:
        """Give the model up."""


class Here:
    """Computes in this process, one batch after the other."""

    def __init__(self, model: BatchModel) -> None:
        self._model = model
        self.facts = model.facts

    def map(self, batches: Iterable[tuple[T, Any]]) -> Iterator[tuple[T, float, Any]]:
        for mark, batch in batches:
            started = time.monotonic()
            result = self._model(batch)
            yield mark, time.monotonic() - started, result

    def close(self) -> None:
        pass


def versions() -> dict[str, str]:
    """The versions that must be the same on all nodes."""
    return {"eva-data": eva_data.__version__} | {name: importlib.metadata.version(name) for name in _COMPARED}


class ModelActor:
    """Holds a model on a node of the cluster."""

    def load(self, load: Callable[[], BatchModel], threads: int) -> tuple[dict[str, str], Mapping[str, Any]]:
        """Load the model; return this node's versions, and the model's facts.

        `threads` are those of the process that asks, since sums in another order differ in the last bits. Ray would set
        one.
        """
        import torch

        torch.set_num_threads(threads)
        self._model = load()
        return versions(), self._model.facts

    def compute(self, batch: Any) -> tuple[float, Any]:
        """The seconds that a batch took, and its result."""
        started = time.monotonic()
        result = self._model(batch)
        return time.monotonic() - started, result


@dataclass
class _Task:
    mark: Any
    batch: Any
    """The batch in Ray's store of objects."""
    deaths: int = 0


@dataclass(eq=False)
class _Actor:
    handle: Any
    loading: Any
    """Ray's promise of what `load` returns; None once the model is loaded."""
    tasks: dict[Any, _Task] = field(default_factory=dict)
    """Ray's promise of a result -> the task."""


class OnRay:
    """Computes by actors of a Ray cluster. An actor that dies is replaced, and its batches go to the others."""

    def __init__(
        self, load: Callable[[], BatchModel], *, address: str, actors: int | None, device: str, threads: int
    ) -> None:
        """Start the actors, and wait for the first that has loaded its model.

        `actors` is None for one actor for each GPU of the cluster, or, if `device` is the CPU, one for each node. Raise
        MissingExtraError without Ray, ModelError if there is no cluster at the address, if it has no GPU but `device`
        is none of the CPU's, or if its nodes have other versions, and what `load` raises.
        """
        self._ray = ray = connected(address, "execution.address")
        self._head: str = ray.get_runtime_context().gcs_address
        self._seen = self._looked = time.monotonic()
        self._gone = False
        self._threads = threads
        self._deaths = 0
        """Actors that died before they had their model, since the last that did not."""
        self._actors: list[_Actor] = []
        self.facts: Mapping[str, Any] = {}
        try:
            # A head often has no place for anything else.
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
            gpus = sum(int(node.get("GPU", 0)) for node in nodes)
            self._gpus = 0 if device == "cpu" else 1
            if self._gpus and not gpus:
                raise ModelError(
                    f"the Ray cluster at `{address}` has no GPU for a model whose `device` is {device}: add nodes with "
                    "GPUs, or set `device: cpu`"
                )
            self._load = ray.put(load)
            self._size = actors or (gpus if self._gpus else len(nodes)) or 1
            for _ in range(self._size):
                self._begin()
            while all(actor.loading is not None for actor in self._actors):
                self._next(lambda task: None)
        except BaseException:
            self.close()
            raise

    def map(self, batches: Iterable[tuple[T, Any]]) -> Iterator[tuple[T, float, Any]]:
        source = iter(batches)
        lost: deque[_Task] = deque()
        while True:
            self._hand_out(source, lost)
            if not lost and not any(actor.tasks for actor in self._actors):
                return
            finished = self._next(lost.append)
            if finished is not None:
                yield finished

    def close(self) -> None:
        if self._gone:
            # Ray would wait for the head. The actors end with this process.
            return
        for actor in self._actors:
            self._ray.kill(actor.handle, no_restart=True)
        self._actors = []
        self._ray.shutdown()

    def _begin(self) -> None:
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": self._gpus, "max_restarts": 0, "max_task_retries": 0}
        if not self._gpus:
            options["scheduling_strategy"] = "SPREAD"
        handle = self._ray.remote(ModelActor).options(**options).remote()
        self._actors.append(_Actor(handle, handle.load.remote(self._load, self._threads)))

    def _hand_out(self, source: Iterator[tuple[Any, Any]], lost: deque[_Task]) -> None:
        """Give batches to the actors that have a model and not yet enough batches, the least busy first."""
        while ready := [each for each in self._actors if each.loading is None and len(each.tasks) < AHEAD]:
            if lost:
                task = lost.popleft()
            else:
                following = next(source, None)
                if following is None:
                    return
                task = _Task(following[0], self._ray.put(following[1]))
            actor = min(ready, key=lambda each: len(each.tasks))
            actor.tasks[actor.handle.compute.remote(task.batch)] = task

    def _next(self, lose: Callable[[_Task], object]) -> tuple[Any, float, Any] | None:
        """Wait until something happens. Return a finished batch; None if it was something else.

        `lose` is given the batches of an actor that died.
        """
        promises = {each.loading: each for each in self._actors if each.loading is not None}
        promises |= {promise: each for each in self._actors for promise in each.tasks}
        finished, _ = self._ray.wait([*promises], num_returns=1, timeout=LOOK_SECONDS)
        self._look()
        if not finished:
            return None
        actor = promises[finished[0]]
        try:
            answer = self._ray.get(finished[0])
        except self._ray.exceptions.RayTaskError as error:
            raise _cause(error) from None
        except self._ray.exceptions.RayError as error:
            self._replace(actor, error, lose)
            return None
        if finished[0] is actor.loading:
            self._loaded(actor, *answer)
            return None
        return (actor.tasks.pop(finished[0]).mark, *answer)

    def _loaded(self, actor: _Actor, found: dict[str, str], facts: Mapping[str, Any]) -> None:
        if found != versions():
            other = ", ".join(f"{name} {found[name]}" for name, own in versions().items() if found[name] != own)
            raise ModelError(
                f"a node of the Ray cluster has {other}, and this machine has "
                f"{', '.join(f'{name} {own}' for name, own in versions().items() if found[name] != own)}: install the "
                "same versions on all nodes, since others compute other results"
            )
        actor.loading, self.facts, self._deaths = None, facts, 0

    def _replace(self, actor: _Actor, error: Exception, lose: Callable[[_Task], object]) -> None:
        """Begin another actor for one that died."""
        self._actors.remove(actor)
        if actor.loading is not None:
            self._deaths += 1
        why = _last_line(error)
        if self._deaths > MOST_DEATHS + self._size:
            raise ModelError(
                f"no actor of the Ray cluster lives until it has loaded its model: {why}; each node needs eva-data "
                "with its extra `train`, and memory for the model"
            )
        for task in actor.tasks.values():
            task.deaths += 1
            if task.deaths >= MOST_DEATHS:
                raise ModelError(
                    f"a batch was lost with its actor {task.deaths} times, so it may be too large for the memory of a "
                    f"node: {why}"
                )
            lose(task)
        # Until Ray knows that a node is dead, it would place the next actor there too.
        time.sleep(min(10.0, float(self._deaths)))
        self._begin()

    def _look(self) -> None:
        """Raise ModelError if the head of the cluster is gone."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        try:
            knock(self._head)
        except OSError as error:
            if now - self._seen > GONE_SECONDS:
                self._gone = True
                raise ModelError(
                    f"the head of the Ray cluster, {self._head}, is out of reach ({error}); what was finished is kept: "
                    "start the cluster again, then repeat the command"
                ) from None
        else:
            self._seen = now


def _last_line(error: Exception) -> str:
    """The last line of an error of Ray, which may quote a traceback in colours."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", str(error)).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), type(error).__name__)[:300]


def _cause(error: Any) -> Exception:
    """The error that an actor raised, if it is one of ours; else a ModelError that names it."""
    cause = error.cause
    if isinstance(cause, EvaError):
        return cause
    return ModelError(
        f"an actor of the Ray cluster failed: {type(cause).__name__}: {' '.join(str(cause).split())[:500]}"
    )
