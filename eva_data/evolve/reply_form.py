"""The form in which a creator is asked for its reply, and how that form is read.

`plain` leaves every template as it is published. `delimited` adds one sentence to it, which asks for the new prompt
between two markers; `json` asks for a JSON object, and a server that guides its decoding is given the schema. What
stands between delimiters comes back character for character, so that neither labels nor explanations nor a first
line's indentation have to be guessed. Another form is another request, so it finds nothing of `plain` in the ledger.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeAlias

from eva_data.evolve.parse import marked, structured
from eva_data.evolve.replies.markers import CLOSE, KEY, OPEN, SCHEMA
from eva_data.evolve.strategy import Method, Strategy

ReplyForm: TypeAlias = Literal["plain", "delimited", "json"]

_DELIMITED = f"\n\nWrite only the new text, between {OPEN} and {CLOSE}, and nothing before or after them."
_JSON = f'\n\nReply with one JSON object and nothing else: {{"{KEY}": "the new text"}}.'
_MARKED = f"\n\nWrite only the new prompt, between {OPEN} and {CLOSE}."
"""With this the templates of `eva` end; another form takes its place."""

RESPONSE_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "new_prompt", "strict": True, "schema": SCHEMA},
}
"""The field of a chat request by which OpenAI-compatible servers guide the decoding."""


def guide_of(form: ReplyForm) -> dict[str, Any] | None:
    """What a request holds beside the template, so that a server guides the decoding; None where nothing is guided."""
    return {"response_format": RESPONSE_FORMAT} if form == "json" else None


def asking_for(method: Method, form: ReplyForm) -> Method:
    """The method with every strategy asking for, and reading, replies of this form."""
    if form == "plain":
        return method
    return replace(method, strategies=tuple(_asking_for(strategy, form) for strategy in method.strategies))


def _asking_for(strategy: Strategy, form: ReplyForm) -> Strategy:
    if form == "delimited":
        if strategy.parse is marked:
            return strategy
        return replace(strategy, template=strategy.template.rstrip() + _DELIMITED, parse=marked)
    template = strategy.template.removesuffix(_MARKED).rstrip()
    return replace(strategy, template=template + _JSON, parse=structured)
