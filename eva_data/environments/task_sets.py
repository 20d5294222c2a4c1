"""Task sets of verifiers 0.4 (Brown 2025): classes of a user's own packages that pose tasks and score replies.

A task set is code, so it is loaded only by its name in the user's settings, never by a name in a table. Tasks are used
whose rewards need the task and the reply alone; then they are called without a model, a container and tools.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from eva_data.calls import Unparsable
from eva_data.environments.tasks import PosedTask, Turns, posed_task, read_info, text_turns
from eva_data.errors import ConfigError, DataError
from eva_data.own_code import identity, load_function, shown
from eva_data.thoughts import without_thoughts

KEY = "seeds.environment"
_HOOKS = ("setup", "finalize", "stage_verifier")
"""Methods of a task that prepare a container before it is scored."""


def is_task_set(found: object) -> bool:
    """Whether something that was loaded is a task set of verifiers 0.4."""
    bases = found.__mro__[1:] if inspect.isclass(found) else ()
    return any(base.__module__.startswith("verifiers.v1.") and base.__name__ == "Taskset" for base in bases)


def version_of_set(name: str) -> str:
    """The installed verifiers and the source of a task set, such as `verifiers 0.4.0, my_tasks.py:Sums@0123456789ab`.

    Raise ConfigError if there is no such task set.
    """
    return f"verifiers {version('verifiers')}, {identity(name, _loaded(name))}"


def pose_set(name: str, *, size: int, config: Mapping[str, Any]) -> Iterator[tuple[Turns, PosedTask, bool]]:
    """The turns of the first `size` tasks of a task set, the tasks, and whether each is text that can be scored.

    Raise ConfigError if there is no such task set, and DataError if it does not take these settings, has fewer tasks,
    or if its tasks need more than a reply to be scored.
    """
    found = _loaded(name)
    made = _made(found, name, config)
    posed = 0
    for task in made.take(size):
        if needs := _needs(task) or ("shared tools" if found.toolsets(made.config) else None):
            raise DataError(
                f"the tasks of `{shown(name)}` need {needs}, and a task is used only if its rewards need nothing but "
                "the task and the reply: use another task set"
            )
        posed += 1
        yield posed_task(
            _turns(task.data),
            getattr(task.data, "answer", None),
            environment=shown(name),
            version=f"verifiers {version('verifiers')}",
            metadata=task.data.model_dump(mode="json", exclude_defaults=True),
        )
    if posed < size:
        raise DataError(f"`{shown(name)}` has {posed} tasks, and `seeds.size` is {size}: set it to {posed} or less")


def scorer_of_set(found: Any) -> Callable[[str, str, str | None, str | None], float | None]:
    """The function (prompt, response, answer, info) -> sum of the task's weighted rewards, for `answers: carried`.

    The task is made anew from `info`. None if `info` is missing. A response is scored without its thoughts.
    """
    kind = found.task_type()

    def score(prompt: str, response: str, answer: str | None, info: str | None) -> float | None:
        if info is None:
            return None
        from verifiers.v1 import AgentConfig, AgentInfo, AssistantMessage, Trace, TraceTask
        from verifiers.v1.graph import MessageNode
        from verifiers.v1.state import state_cls

        # The settings of tasks may name functions to import, and `info` may be a stranger's: the task's own hold.
        task = kind(kind.data_type().model_validate(read_info(info)["metadata"]))
        spoken = without_thoughts(response)
        reply = AssistantMessage(content="" if isinstance(spoken, Unparsable) else spoken)
        trace = Trace(
            task=TraceTask(type=kind.__name__, data=task.data, key=task.key, hash=task.hash),
            state=state_cls(kind)(),
            agent=AgentInfo(config=AgentConfig()),
        )
        for turn in _turns(task.data):
            parent = len(trace.nodes) - 1 if trace.nodes else None
            trace.nodes.append(MessageNode.model_validate({"parent": parent, "message": turn}))
        parent = len(trace.nodes) - 1 if trace.nodes else None
        trace.nodes.append(MessageNode(parent=parent, message=reply, sampled=True))
        asyncio.run(task.score(trace))
        return float(trace.reward)

    return score


def _loaded(name: str) -> Any:
    found = load_function(name, KEY)
    if not is_task_set(found):
        raise ConfigError(
            f"`{KEY}` is `{name}`, which is no task set of verifiers 0.4: name a subclass of `verifiers.v1.Taskset`, "
            "or the function `load_environment` of an environment of verifiers 0.1 to 0.3"
        )
    if not hasattr(found, "take"):
        raise ConfigError(
            f"`{KEY}` is `{name}`, a task set of verifiers {version('verifiers')}: task sets are read from 0.4 on "
            "(`pip install 'verifiers>=0.4'`)"
        )
    return found


def _made(found: Any, name: str, config: Mapping[str, Any]) -> Any:
    """The task set with its settings. Raise DataError if it refuses them."""
    from pydantic import ValidationError
    from verifiers.v1 import Taskset, TasksetConfig
    from verifiers.v1.utils.generic import concrete_type

    if "task" in config:
        raise DataError("`seeds.config` holds `task`, the settings of tasks, which may name code: set their defaults")
    kind = concrete_type(found, TasksetConfig, origin=Taskset) or TasksetConfig
    try:
        return found(kind.model_validate(dict(config)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        known = ", ".join(key for key in kind.model_fields if key not in ("task", "id"))
        raise DataError(
            f"`{shown(name)}` refuses `seeds.config` (`{place}`: {first['msg']}): it takes {known}"
        ) from None


def _needs(task: Any) -> str | None:
    """What a task needs beyond its data and the reply to be scored; None if nothing."""
    from verifiers.v1 import Task

    kind = type(task)
    rewards = task.hooks("reward")
    hooks = [name for name in _HOOKS if getattr(kind, name) is not getattr(Task, name)]
    with_runtime = [
        each.__name__
        for each in (*rewards, *task.hooks("metric"))
        if (given := inspect.signature(each).parameters.get("runtime")) is not None and given.default is given.empty
    ]
    found = {
        "a container": kind.NEEDS_CONTAINER or task.data.image is not None,
        "tools": bool(kind.toolsets(task.config)),
        "a judge": bool(task.config.judges),
        f"a container for `{', '.join(hooks)}`": bool(hooks),
        f"a container for `{', '.join(with_runtime)}`": bool(with_runtime),
        "a reward of their own, which they lack,": not rewards,
    }
    return next((what for what, needed in found.items() if needed), None)


def _turns(data: Any) -> Turns:
    """The prompt of a task as messages of text; empty if it is not text."""
    prompt = (
        data.prompt
        if isinstance(data.prompt, str)
        else [
            turn if isinstance(turn, dict) else turn.model_dump(include={"role", "content"})
            for turn in data.prompt or []
        ]
    )
    turns = text_turns(prompt)
    system = [] if data.system_prompt is None else [{"role": "system", "content": data.system_prompt}]
    return [*system, *turns] if turns else []
