"""The ways to evolve a prompt. Each published method is a module here with a function of the module's name.

The modules of this folder are the values of `evolve.method`, except modules whose name begins with `_`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

from eva_data.config.choices import modules_of
from eva_data.errors import ConfigError
from eva_data.evolve.methods._user_defined import user_strategy
from eva_data.evolve.reply_form import ReplyForm, asking_for
from eva_data.evolve.strategy import Method, Strategy
from eva_data.own_code import is_own, load_function

METHODS = modules_of("evolve/methods")

_KEY = "evolve.method"


def build_method(
    name: str, strategies: Sequence[Strategy] = (), *, keep_own: bool = True, reply: ReplyForm = "plain"
) -> Method:
    """The method of that name with the user's strategies, beside its own or, without `keep_own`, in their place.

    All strategies ask for replies of the form `reply`. The name may also name a user's own function, which returns a
    Method. All published methods import Distilabel, which `eva` and
    `one_constraint` do not. Raise ConfigError for an unknown method, or if a name of
    a strategy is used twice.
    """
    if is_own(name):
        method = load_function(name, _KEY)()
        if not isinstance(method, Method):
            raise ConfigError(
                f"`{_KEY}` is `{name}`, which returned {type(method).__name__}: it must take nothing and return an "
                "`eva_data.evolve.strategy.Method`"
            )
    elif name in METHODS:
        make: Callable[[], Method] = getattr(import_module(f"{__name__}.{name}"), name)
        method = make()
    else:
        raise ConfigError(f"`{_KEY}` is `{name}`: use one of {', '.join(METHODS)}, or a function of your own")
    return asking_for(method.extended(strategies, keep_own=keep_own), reply)


__all__ = ["METHODS", "build_method", "user_strategy"]
