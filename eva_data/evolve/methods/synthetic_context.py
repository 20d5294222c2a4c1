"""Prompts with something to read: the creator writes a text that the user would put before the request.

Most requests of real users are about a text that they bring along: a letter, a table, code, notes. The creator writes
such a text, and it is put before the prompt, whose words stay. The kinds and the wording are ours.
"""

from __future__ import annotations

from eva_data.evolve.parse import bare
from eva_data.evolve.strategy import Method, Strategy

_TEMPLATE = """\
A user is going to send this request to an assistant:

<request>
{request}
</request>

The request is material for your task: do not answer it. Write {what} that the user puts before the request, so that \
the answer now has to follow from it. Use particular names, numbers and details, some of which do not matter for the \
answer. Write in the language of the request, in at most 200 words. Write only this text."""

_KINDS = {
    "document": "an excerpt of a document",
    "data": "a small table or a list of data",
    "messages": "a short exchange of messages between people",
    "situation": "a description of the user's situation, with what was tried before,",
}


def synthetic_context() -> Method:
    """Four strategies in depth, each of which puts a text of its kind before the prompt."""
    strategies = (
        Strategy(name, "in_depth", _TEMPLATE.replace("{what}", what), "{request}", bare, precedes=True)
        for name, what in _KINDS.items()
    )
    return Method("synthetic_context", tuple(strategies), sequential=False)
