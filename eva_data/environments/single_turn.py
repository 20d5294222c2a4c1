"""Environments of verifiers 0.1 to 0.3 (Brown 2025): functions `load_environment` that pose tasks and score replies.

An environment is code, so it is loaded only by its name in the user's settings, never by a name in a table. Those of
one turn are used whose rewards need the row of their dataset and the reply alone; no model is called for that.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from importlib.metadata import version
from typing import Any

from eva_data.calls import Unparsable
from eva_data.environments.tasks import PosedTask, Turns, posed_task, read_info, text_turns
from eva_data.errors import ConfigError, DataError, EvaError
from eva_data.own_code import identity, shown
from eva_data.thoughts import without_thoughts

_LOADER = "load_environment"
_STEPS = ("setup_state", "rollout", "env_response", "get_prompt_messages", "add_model_response", "render_completion")
"""Methods by which an environment takes part in the making of a reply."""


def is_loader(found: object) -> bool:
    """Whether something that was loaded is a function with the name that verifiers asks for."""
    return inspect.isfunction(found) and found.__name__ == _LOADER


def version_of_loader(name: str, found: Callable[..., Any]) -> str:
    """The installed verifiers and the source of an environment, as `version_of_set` has them."""
    return f"{_installed()}, {identity(name, found)}"


def pose_rows(
    name: str, found: Callable[..., Any], *, size: int, config: Mapping[str, Any]
) -> Iterator[tuple[Turns, PosedTask, bool]]:
    """The turns of the first `size` rows of an environment, their tasks, and whether each is text that can be scored.

    Raise ConfigError if the environment cannot be made, and DataError if settings are given, if it has fewer rows, or
    if it needs more than a reply to score it.
    """
    if config:
        raise DataError(
            f"`seeds.config` is for task sets, and `{shown(name)}` is called without arguments, since the reward calls "
            f"it too: write a function `{_LOADER}` of your own that calls it with them"
        )
    environment = _made(name, found)
    if needs := _needs(environment):
        raise DataError(
            f"`{shown(name)}` needs {needs}, and an environment is used only if its rewards need nothing but a row of "
            "its dataset and the reply: use another environment"
        )
    rows = environment.get_dataset()
    if len(rows) < size:
        raise DataError(
            f"`{shown(name)}` has {len(rows)} rows, and `seeds.size` is {size}: set it to {len(rows)} or less"
        )
    for row in rows.select(range(size)):
        if isinstance(row.get("info"), str):
            row["info"] = json.loads(row["info"])
        # A dataset without answers gets empty ones.
        answer = None if row.get("answer") == "" else row.get("answer")
        yield posed_task(text_turns(row["prompt"]), answer, environment=shown(name), version=_installed(), metadata=row)


def scorer_of_rows(name: str, found: Callable[..., Any]) -> Callable[[str, str, str | None, str | None], float | None]:
    """The function (prompt, response, answer, info) -> weighted sum of its rewards, for `answers: carried`.

    The row is read from `info`. None if `info` is missing. A response is scored without its thoughts. verifiers takes a
    reward that raises for 0; here its exception is raised.
    """
    environment = _made(name, found)
    raised: list[Exception] = []
    for rubric in _rubrics(environment.rubric):
        rubric.funcs = [
            _noted(function, raised) if weight else function
            for function, weight in zip(rubric.funcs, rubric.weights, strict=True)
        ]

    def score(prompt: str, response: str, answer: str | None, info: str | None) -> float | None:
        if info is None:
            return None
        spoken = without_thoughts(response)
        state = _finished(read_info(info)["metadata"], "" if isinstance(spoken, Unparsable) else spoken)
        raised.clear()
        asyncio.run(environment.rubric.score_rollout(state))
        if raised:
            raise raised[0]
        return float(state["reward"])

    return score


def _installed() -> str:
    return f"verifiers {version('verifiers')}"


def _made(name: str, found: Callable[..., Any]) -> Any:
    """The environment. Raise ConfigError if the function raises, or makes something else."""
    try:
        with _own_signals():
            made = found()
    except EvaError:
        raise
    except Exception as error:
        raise ConfigError(f"`{shown(name)}` made no environment, it raised {type(error).__name__}: {error}") from error
    if "Environment" not in _classes(made):
        raise ConfigError(
            f"`{shown(name)}` made a {type(made).__name__}: expected an `Environment` of verifiers 0.1 to 0.3, or "
            "name a subclass of `verifiers.v1.Taskset`"
        )
    return made


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep this process's handlers of signals, which an environment replaces when it is made."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _needs(environment: Any) -> str | None:
    """What an environment needs beyond a row and the reply to score it; None if nothing."""
    rubrics = list(_rubrics(environment.rubric))
    weighed = [
        (rubric, function)
        for rubric in rubrics
        for function, weight in zip(rubric.funcs, rubric.weights, strict=True)
        if weight
    ]
    own = [step for step in _STEPS if _defined_by_user(environment, step)]
    found = {
        "several turns": "SingleTurnEnv" not in _classes(environment),
        "tools": bool(getattr(environment, "tool_defs", None) or getattr(environment, "oai_tools", None)),
        f"a part in the making of a reply (`{', '.join(own)}`)": bool(own),
        "a judge": any("JudgeRubric" in _classes(rubric) for rubric in rubrics),
        "all replies to a prompt together": any(rubric._is_group_func(function) for rubric, function in weighed),
        "a reward, which it lacks,": not weighed,
    }
    return next((what for what, needed in found.items() if needed), None)


def _rubrics(rubric: Any) -> Iterator[Any]:
    """The rubrics that hold rewards: this one, or those of a group."""
    parts = getattr(rubric, "rubrics", None)
    if parts is None:
        yield rubric
        return
    for part in parts:
        yield from _rubrics(part)


def _classes(made: object) -> list[str]:
    """The names of the classes of verifiers that something is an instance of."""
    return [each.__name__ for each in type(made).__mro__ if each.__module__.split(".")[0] == "verifiers"]


def _defined_by_user(environment: Any, step: str) -> bool:
    of = next((each for each in type(environment).__mro__ if step in vars(each)), None)
    return of is not None and of.__module__.split(".")[0] != "verifiers"


def _noted(function: Callable[..., Any], raised: list[Exception]) -> Callable[..., Any]:
    """The same reward, which keeps what it raises, for verifiers logs it and goes on with 0."""

    @wraps(function)
    async def noted(*arguments: Any, **named: Any) -> float:
        try:
            found = function(*arguments, **named)
            return float(await found if inspect.isawaitable(found) else found)
        except Exception as error:
            raised.append(error)
            return 0.0

    return noted


def _finished(row: dict[str, Any], spoken: str) -> Any:
    """The state of a rollout that ended with one reply, as `SingleTurnEnv.rollout` leaves it."""
    from verifiers.types import State, flatten_task_input
    from verifiers.utils.message_utils import normalize_messages

    task = flatten_task_input(row)
    state = State(input=task)
    prompt = normalize_messages(row["prompt"], field_name="prompt")
    reply = normalize_messages([{"role": "assistant", "content": spoken}], field_name="completion")
    step = {"prompt": prompt, "completion": reply, "response": None, "tokens": None, "reward": None, "advantage": None}
    state["task"], state["prompt"], state["completion"] = task, prompt, reply
    state["trajectory"] = [step | {"is_truncated": False, "trajectory_id": "", "extras": {}}]
    state["is_completed"], state["is_truncated"], state["error"] = True, False, None
    return state
