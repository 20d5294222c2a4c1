"""Adapts the fields of a request's body to a server: renames them, leaves them out, or changes their values.

Servers differ in the names of fields and in the fields that they refuse. If a refusal names a field that eva-data set,
the request is made again without it, under its other name, or with another value of the same meaning. A field that the
user set is never dropped: if a server refuses it, that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from eva_data.errors import EndpointError
from eva_data.models.remote.faults import NotGreedy, Refused

T = TypeVar("T")

LENGTH = ("max_tokens", "max_completion_tokens")
"""The two names of the bound on an answer's length. One of them is always sent, because it bounds the price too."""

GUIDE = "response_format"
"""The field that guides decoding. It is left out if a server cannot do that, or not by that schema."""

LIKELIHOODS = ("logprobs", "top_logprobs")
"""The fields that ask for log-probabilities. They are left out together: without them the text alone is read."""

_MEANS_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "return_token_ids": (True,),
    "stream": (False,),
}
"""Other values of the same meaning, in the order in which they are tried; after them the field is left out."""

_NOT_TAKEN = re.compile(
    r"unsupported|not support|n't support|unrecognized|unknown|unexpected|not permitted|not allowed|forbidden"
    r"|not taken|not accepted|no longer|deprecated|must be -1|extra (inputs|fields)|invalid (param|argument|field)"
    r"|greater than max"
    r"|use 'max_completion_tokens'"
)


class Fields:
    """The fields that one server accepts, as far as known. `renamed` holds the settings for it."""

    def __init__(self, model: str, renamed: Mapping[str, str | None]) -> None:
        self._model = model
        self._names: dict[str, str | None] = dict(renamed)
        self._values: dict[str, Any] = {}

    def body(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """The fields as they are sent. Fields that are None are left out."""
        sent: dict[str, Any] = {}
        for name, value in wanted.items():
            called = self._names.get(name, name)
            if called is not None and value is not None:
                sent[called] = self._values.get(name, value)
        return sent

    def adapt(self, refusal: Refused, wanted: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
        """Learn from the refusal of the fields `sent`, and return whether another request makes sense.

        Raise EndpointError if the server refuses a field that the user set.
        """
        name = _named(refusal, sent)
        if name is None:
            return False
        if self.body(wanted).get(name) != sent[name]:
            # Another request has met the same refusal meanwhile.
            return True
        ours = next((ours for ours, theirs in self._names.items() if theirs == name), name)
        if ours in LENGTH:
            other = LENGTH[1 - LENGTH.index(ours)]
            if ours in self._names or wanted.get(other) is not None:
                return False
            self._names[ours] = other
            return True
        if ours == GUIDE:
            # The template asks for the form in words too.
            self._names[ours] = None
            return True
        if ours in LIKELIHOODS:
            self._names |= dict.fromkeys(LIKELIHOODS)
            return True
        same = _MEANS_NOTHING.get(ours)
        if same is None:
            return False
        if sent[name] not in same:
            raise EndpointError(
                f"`{self._model}` does not take `{ours}: {wanted[ours]}` ({str(refusal).partition(': ')[2]}): set "
                f"`{ours}: {same[0]}`, or leave the field out with `fields: {{{ours}: null}}`"
            )
        further = same[same.index(sent[name]) + 1 :]
        if further:
            self._values[ours] = further[0]
        else:
            self._names[ours] = None
        return True

    async def accepted(
        self, wanted: Mapping[str, Any], send: Callable[[Mapping[str, Any]], Awaitable[T]], *, greedy: bool = False
    ) -> T:
        """The result of `send` with these fields, in the form that the server accepts; each refusal is learned from.

        Raise the last Refused if another form would not help, NotGreedy if a `greedy` request is refused for its
        temperature of 0, and EndpointError if the server refuses a field that the user set.
        """
        while True:
            sent = self.body(wanted)
            try:
                return await send(sent)
            except Refused as refusal:
                if greedy and _named(refusal, sent) == self._names.get("temperature", "temperature"):
                    raise NotGreedy(str(refusal)) from None
                if not self.adapt(refusal, wanted, sent):
                    raise


def asking_likelihoods(likeliest: int) -> dict[str, Any]:
    """The fields that ask for the log-probabilities of so many likeliest tokens at each place; none for 0."""
    return dict(zip(LIKELIHOODS, (True, likeliest), strict=True)) if likeliest else {}


def greedily(wanted: Mapping[str, Any], tokens: int, *, top_p: float | None) -> dict[str, Any]:
    """The fields that ask for the most likely answer, its text alone, of at most so many tokens.

    A `top_p` of None is left out.
    """
    lengths = {name: tokens for name in LENGTH if wanted.get(name) is not None}
    return {**wanted, **dict.fromkeys(LIKELIHOODS), "temperature": 0.0, "top_p": top_p, **lengths}


def _named(refusal: Refused, body: Mapping[str, Any]) -> str | None:
    """The field of the body that a refusal is about; None if it is about no field."""
    words = f"{refusal.code} {refusal}".lower()
    if not str(refusal).startswith("bad_request") or not _NOT_TAKEN.search(words):
        return None
    names = [name for name in body if name not in ("messages", "model", "n")]
    if refusal.field.rpartition(".")[2] in names:
        return refusal.field.rpartition(".")[2]
    found = [(match.start(), name) for name in names if (match := re.search(rf"\b{re.escape(name.lower())}\b", words))]
    # A server that recommends another field names the refused field first.
    return min(found)[1] if found else None
