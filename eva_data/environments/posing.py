"""The prompts that an environment poses, as a table of seeds, and the environment that a name means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import polars as pl

from eva_data.environments import reasoning_gym
from eva_data.environments.single_turn import is_loader, pose_rows, version_of_loader
from eva_data.environments.task_sets import KEY, pose_set, version_of_set
from eva_data.environments.tasks import PosedTask, read_info
from eva_data.errors import DataError
from eva_data.own_code import is_own, load_function, shown
from eva_data.tables.reasons import UNSCORABLE
from eva_data.tables.schemas import CARRIED, MESSAGES


def posed(environment: str, *, size: int, seed: int, config: Mapping[str, Any]) -> pl.DataFrame:
    """The first `size` tasks of an environment, one row each: `prompt`, `reason`, `source`, `answer` and `info`.

    `reason` is null for a usable task. A prompt of reasoning-gym begins with its instruction as a system turn. An
    environment with a name of `own_code` is a task set of verifiers, or a function that makes an environment of
    verifiers 0.1 to 0.3. `seed` does not change its order.

    Raise DataError if there is no such environment, or it refuses the settings, and MissingExtraError without its
    package.
    """
    return _posed(environment, size, seed, json.dumps(dict(config), sort_keys=True))


@lru_cache(maxsize=2)
def _posed(environment: str, size: int, seed: int, config: str) -> pl.DataFrame:
    settings = json.loads(config)
    if is_own(environment):
        own = load_function(environment, KEY)
        if is_loader(own):
            found = list(pose_rows(environment, own, size=size, config=settings))
        else:
            found = list(pose_set(environment, size=size, config=settings))
    else:
        tasks = list(reasoning_gym.pose(_dataset(environment), size=size, seed=seed, config=settings))
        system = {"role": "system", "content": reasoning_gym.system_prompt()}
        found = [([system, {"role": "user", "content": task.text}], task, scorable) for task, scorable in tasks]
    rows = [
        {
            "prompt": turns or None,
            "reason": None if scorable else UNSCORABLE,
            "answer": task.answer,
            "info": task.info,
        }
        for turns, task, scorable in found
    ]
    schema = pl.Schema([("prompt", MESSAGES), *((name, pl.String()) for name in ("reason", *CARRIED))])
    return pl.DataFrame(rows, schema=schema).with_columns(source=pl.lit(shown(environment)))


def version_of(environment: str) -> str:
    """The installed package of an environment, as `reasoning-gym 0.1.25`. Raise MissingExtraError if there is none.

    Of what verifiers has, its source too; raise ConfigError if it cannot be loaded.
    """
    if is_own(environment):
        own = load_function(environment, KEY)
        return version_of_loader(environment, own) if is_loader(own) else version_of_set(environment)
    _dataset(environment)
    return f"reasoning-gym {reasoning_gym.installed()}"


def one_level_up(task: PosedTask, draw: float) -> PosedTask | None:
    """A task of the same environment that is one level harder; None if there is none. `draw` is in [0, 1)."""
    _dataset(str(read_info(task.info)["environment"]))
    return reasoning_gym.harder(task, draw)


def score(response: str, answer: str | None, question: str, info: str) -> float:
    """The environment's own score of a response, from 0 to 1.

    Raise DataError if `info` is not of an environment that scores, and MissingExtraError without its package.
    """
    values = read_info(info)
    _dataset(str(values["environment"]))
    reasoning_gym.installed()
    return reasoning_gym.score(response, answer, question, values)


def _dataset(environment: str) -> str:
    """The data set in an environment's name. Raise DataError for an unknown library."""
    if not environment.startswith(reasoning_gym.PREFIX):
        raise DataError(
            f"the environment is `{environment}`: it is named `{reasoning_gym.PREFIX}<data set>`, such as "
            f"`{reasoning_gym.PREFIX}chain_sum`"
        )
    return environment.removeprefix(reasoning_gym.PREFIX)
