"""The form of a creator's reply: how it is asked for, and how it is read.

`plain` leaves every template as it is published. `delimited` adds a sentence that asks for the new prompt between two
markers. `json` asks for a JSON object, and a server that guides its decoding gets the schema. Text between delimiters
is taken character for character, so that neither labels nor explanations nor the indentation of a first line have to
be guessed. Another form makes another request, so it does not find the answers for `plain` in the ledger.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias

from eva_data.errors import ConfigError
from eva_data.evolve.parse import marked, structured
from eva_data.evolve.replies.markers import CLOSE, KEY, OPEN, SCHEMA
from eva_data.evolve.strategy import Method, Strategy

ReplyForm: TypeAlias = Literal["plain", "delimited", "json"]

_DELIMITED = f"\n\nWrite only the new text, between {OPEN} and {CLOSE}, and nothing before or after them."
_JSON = f'\n\nReply with one JSON object and nothing else: {{"{KEY}": "the new text"}}.'
_MARKED = f"\n\nWrite only the new prompt, between {OPEN} and {CLOSE}."
"""The last sentence of eva's templates; another form replaces it."""

RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "new_prompt", "strict": True, "schema": SCHEMA},
}
"""The field of a chat request by which OpenAI-compatible servers guide the decoding."""


def guide_of(form: ReplyForm) -> dict[str, Any] | None:
    """The field of a request by which a server guides the decoding; None if this form needs none."""
    return {"response_format": RESPONSE_FORMAT} if form == "json" else None


def asking_for(method: Method, form: ReplyForm) -> Method:
    """The method with strategies that ask for and read replies of this form.

    Raise ConfigError if a strategy shows examples, whose replies are plain.
    """
    if form == "plain":
        return method
    shown = [strategy.name for strategy in method.strategies if strategy.shots]
    if shown:
        raise ConfigError(
            f"`evolve.reply` is {form}, but the strategy `{shown[0]}` of `{method.name}` shows examples of plain "
            "replies: set `evolve.reply: plain`, or take another method"
        )
    return replace(method, strategies=tuple(_asking_for(strategy, form) for strategy in method.strategies))


def _asking_for(strategy: Strategy, form: ReplyForm) -> Strategy:
    if not strategy.asks:
        return strategy
    if form == "delimited":
        if strategy.parse is marked:
            return strategy
        return replace(strategy, template=strategy.template.rstrip() + _DELIMITED, parse=marked)
    template = strategy.template.removesuffix(_MARKED).rstrip()
    return replace(strategy, template=template + _JSON, parse=structured)
