"""The ways to evolve a prompt, by name; one published method, one module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from eva_data.errors import ConfigError
from eva_data.evolve.methods.eva import eva
from eva_data.evolve.methods.evol_complexity import evol_complexity
from eva_data.evolve.methods.evol_instruct import evol_instruct
from eva_data.evolve.methods.evol_quality import evol_quality
from eva_data.evolve.methods.self_instruct import self_instruct
from eva_data.evolve.methods.user_defined import user_strategy
from eva_data.evolve.reply_form import ReplyForm, asking_for
from eva_data.evolve.strategy import Method, Strategy

METHODS: Mapping[str, Callable[[], Method]] = {
    "evol_instruct": evol_instruct,
    "evol_complexity": evol_complexity,
    "evol_quality": evol_quality,
    "self_instruct": self_instruct,
    "eva": eva,
}
"""The values of `evolve.method`."""


def build_method(
    name: str, strategies: Sequence[Strategy] = (), *, keep_own: bool = True, reply: ReplyForm = "plain"
) -> Method:
    """The method of that name, with the user's strategies beside its own or, without `keep_own`, alone.

    All of them ask for replies of the form `reply`.

    All but `eva` import Distilabel. Raises ConfigError for an unknown method or a strategy name used twice.
    """
    if name not in METHODS:
        raise ConfigError(f"evolve.method is {name!r}; use one of {', '.join(METHODS)}")
    return asking_for(METHODS[name]().extended(strategies, keep_own=keep_own), reply)


__all__ = ["METHODS", "build_method", "user_strategy"]
