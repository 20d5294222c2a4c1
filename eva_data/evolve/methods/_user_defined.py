"""Strategies of the user, from the config."""

from __future__ import annotations

from typing import get_args

from eva_data.errors import ConfigError
from eva_data.evolve.parse import bare
from eva_data.evolve.strategy import Kind, Strategy

PLACEHOLDER = "{prompt}"
"""The place of the prompt. Every other brace of a template stays as it is."""


def user_strategy(name: str, template: str, kind: Kind) -> Strategy:
    """A strategy with this template. Raise ConfigError if the template does not hold `{prompt}`.

    The new prompt is the part of the reply between <new_prompt> and </new_prompt>, or else the whole reply.
    """
    if not name.strip():
        raise ConfigError("evolve.strategies: a strategy has no name; give it one, it becomes `mutation`")
    if PLACEHOLDER not in template:
        raise ConfigError(
            f"evolve.strategies: the template of `{name}` has no {PLACEHOLDER}; "
            f"write {PLACEHOLDER} where the prompt to rewrite belongs"
        )
    if kind not in get_args(Kind):
        raise ConfigError(f"evolve.strategies: the kind of `{name}` is {kind!r}; use one of {get_args(Kind)}")
    return Strategy(name, kind, template, PLACEHOLDER, bare, ("<new_prompt>", "</new_prompt>"))
