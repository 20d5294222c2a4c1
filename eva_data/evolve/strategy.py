"""What an evolving method is: named strategies, each a template and a way to read the reply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from eva_data.calls import Message
from eva_data.errors import ConfigError
from eva_data.evolve.conversation import Conversation
from eva_data.evolve.parse import Parser

Kind: TypeAlias = Literal["in_depth", "in_breadth"]
"""In depth makes the same prompt harder; in breadth makes another prompt, so it needs one without history."""


@dataclass(frozen=True)
class Strategy:
    """One mutation: how it is asked for and how the reply is read."""

    name: str
    kind: Kind
    template: str
    placeholder: str
    """Stands in the template for the text to rewrite."""
    parse: Parser
    forbidden: tuple[str, ...] = ()
    """Words of the template that betray a reply which talks about the rewriting instead of doing it."""

    def render(self, prompt: Conversation) -> tuple[Message, ...]:
        """One user message: the template with the prompt in it, behind any preceding turns."""
        content = prompt.context + self.template.replace(self.placeholder, prompt.last)
        return ({"role": "user", "content": content},)


@dataclass(frozen=True)
class Method:
    """A published way of evolving prompts, or a user's own: a set of strategies that are drawn uniformly."""

    name: str
    strategies: tuple[Strategy, ...]
    sequential: bool = True
    """Each step rewrites the last surviving one; otherwise every step starts from the sampled prompt."""

    def suiting(self, prompt: Conversation) -> tuple[Strategy, ...]:
        """The strategies that a prompt may be evolved by: with history only those in depth."""
        return tuple(s for s in self.strategies if s.kind == "in_depth" or not prompt.has_history)

    def extended(self, strategies: Sequence[Strategy], *, keep_own: bool) -> Method:
        """The method with more strategies, or with these alone; raises ConfigError for a name used twice."""
        together = (*self.strategies, *strategies) if keep_own else tuple(strategies)
        names = [strategy.name for strategy in together]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(
                f"evolve.strategies: the names {twice} occur more than once in the method `{self.name}`; "
                "rename them, or replace the method's own strategies"
            )
        if not together:
            raise ConfigError(f"evolve.strategies: the method `{self.name}` is left without a strategy; name one")
        return replace(self, strategies=together)
