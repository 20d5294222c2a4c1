"""An evolving method: named strategies, each with a template and a parser of the reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from eva_data.calls import Message
from eva_data.environments.tasks import PosedTask
from eva_data.errors import ConfigError
from eva_data.evolve.conversation import Conversation
from eva_data.evolve.parse import Parser

Kind: TypeAlias = Literal["in_depth", "in_breadth"]
"""In depth makes the same prompt harder. In breadth makes another prompt, so it needs a prompt without history."""

Composer: TypeAlias = Callable[[str, float], str | None]
"""The new prompt, from the old one and a random number in [0, 1); None if this prompt cannot be rewritten."""

Poser: TypeAlias = Callable[[PosedTask, float], PosedTask | None]
"""The same for a prompt that carries its answer: the new prompt has an answer of its own."""


@dataclass(frozen=True)
class Strategy:
    """One mutation: its request and the parser of the reply."""

    name: str
    kind: Kind
    template: str
    placeholder: str
    """The part of the template that stands for the text to rewrite."""
    parse: Parser
    forbidden: tuple[str, ...] = ()
    """Words of the template. A reply that holds them talks about the rewriting and does not do it."""

    shots: tuple[tuple[str, str], ...] = ()
    """(prompt, reply) of each example. They stand before the request as turns of a conversation."""
    appends: bool = False
    """Whether the reply is put under the prompt, as in `written`; otherwise it is the whole new prompt."""
    precedes: bool = False
    """Whether the reply is put before the prompt, with an empty line between them, as in `written`."""
    adds_turn: bool = False
    """Whether the reply is the user's next turn after an answer to the prompt. The template then shows the whole
    conversation with that answer. A prompt without a usable answer has no such rewrite."""
    compose: Composer | None = None
    """Writes the new prompt without a model, so that the creator is not asked; None asks the creator. A world that
    knows how to make its own tasks harder has such strategies, and `template` and `parse` are then not used."""
    pose: Poser | None = None
    """Makes a task with a known answer out of the parent's, likewise without a model. A parent that carries nothing
    has no such rewrite."""

    @property
    def asks(self) -> bool:
        """Whether a model writes the new prompt."""
        return self.compose is None and self.pose is None

    def render(self, prompt: Conversation, reply: str | None = None) -> tuple[Message, ...]:
        """The examples as turns, then one user message: any preceding turns, and the template with the prompt in it.

        `reply` is the answer to the prompt, for a strategy that adds a turn.
        """
        if self.adds_turn:
            shown_turns = f"{prompt.written_out}\n\n[Assistant]\n{reply or ''}"
            return ({"role": "user", "content": self.template.replace(self.placeholder, shown_turns)},)
        shown: list[Message] = []
        for asked, reply in self.shots:
            shown.append({"role": "user", "content": self.template.replace(self.placeholder, asked)})
            shown.append({"role": "assistant", "content": reply})
        content = prompt.context + self.template.replace(self.placeholder, prompt.last)
        return (*shown, {"role": "user", "content": content})

    def written(self, prompt: str, reply: str) -> str:
        """The new prompt, from the old prompt and the text of the reply.

        A reply that is appended goes behind the only line of a prompt, and under a prompt of several lines.
        """
        if self.precedes:
            return f"{reply.rstrip()}\n\n{prompt}"
        if not self.appends:
            return reply
        space = "\n\n" if "\n" in prompt.strip() else " "
        return f"{prompt.rstrip()}{space}{reply}"


@dataclass(frozen=True)
class Method:
    """A published way to evolve prompts, or a user's own: a set of strategies, from which each draw is uniform."""

    name: str
    strategies: tuple[Strategy, ...]
    sequential: bool = True
    """Whether each step rewrites the last surviving prompt; otherwise every step starts from the sampled prompt."""

    def __post_init__(self) -> None:
        added = [strategy.name for strategy in self.strategies if strategy.adds_turn]
        if added and self.sequential:
            raise ConfigError(
                f"the method `{self.name}` is sequential and its strategy `{added[0]}` adds a turn to an answer, which "
                "only the sampled prompt has: set `sequential=False`"
            )

    def suiting(self, prompt: Conversation) -> tuple[Strategy, ...]:
        """The strategies that suit a prompt: only strategies in depth if it has history."""
        return tuple(s for s in self.strategies if s.kind == "in_depth" or not prompt.has_history)

    def extended(self, strategies: Sequence[Strategy], *, keep_own: bool) -> Method:
        """The method with these strategies added, or alone. Raise ConfigError if a name is used twice."""
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
