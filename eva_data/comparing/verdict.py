"""Reading a judge's verdict: only what the whole reply leaves no doubt about counts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypedDict

from eva_data.calls import GAVE_UP, Chain, Completion, Message, Request, Unparsable, valid_unicode
from eva_data.thoughts import without_thoughts

Verdict: TypeAlias = Literal["first", "second", "tie"]

SCORES: Mapping[str, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}
"""Verdict -> score of the response that was shown first."""

VERDICT_FORMAT: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {
        "name": "verdict",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"reason": {"type": "string"}, "verdict": {"enum": ["first", "second", "tie"]}},
            "required": ["reason", "verdict"],
            "additionalProperties": False,
        },
    },
}
"""The field of a chat request by which a server guides the decoding. A server without it answers in words."""

IN_JSON = (
    '\n\nIf your reply has to be a JSON object, give instead {"reason": "...", "verdict": "first"}, '
    'or "second" or "tie".'
)
"""The part of the question for servers that guide the decoding by VERDICT_FORMAT."""

AGAIN = "compare:retry"
"""Salt of the second and last request, after a reply without a verdict."""

UNPARSABLE = "unparsable: "

_EMPHASIS = re.compile(r"[*_`#>\"“”]+")
_LINE = re.compile(r"(?:final\s+)?verdict\s*[:=]\s*\(?(first|second|tie)(?:\s+reply)?\)?\s*[.!]?", re.IGNORECASE)


class Judged(TypedDict):
    """The result of one question."""

    label: str | None
    """The verdict in the words of the rule; None if the reply holds no readable verdict."""
    reason: str | None
    """`unparsable: ...`, `gave_up: ...` or `call_failed: ...`; None if there is a label."""
    raw: str | None
    """The judge's last reply if there is no label, else None."""
    log_first: float | None
    """Log-probability that the reply begins with the token for the response shown first; None if it is unknown."""
    log_second: float | None
    """The same for the response shown second."""


def no_verdict(reason: str | None = None, raw: str | None = None) -> Judged:
    """The result of a question that brought no verdict."""
    return Judged(label=None, reason=reason, raw=raw, log_first=None, log_second=None)


Read: TypeAlias = Callable[[str], "str | Unparsable"]
"""Gives the label of a reply without thoughts."""


def read_verdict(text: str) -> str | Unparsable:
    """`first`, `second` or `tie`: from a JSON object, or from the last line.

    Earlier lines that give another verdict make the reply unreadable.
    """
    in_json = _verdict_in_json(text)
    if in_json is not None:
        return in_json
    lines = [" ".join(_EMPHASIS.sub(" ", line).split()) for line in text.splitlines() if line.strip()]
    if not lines:
        return Unparsable("the reply is empty")
    found = [match[1].lower() for line in lines if (match := _LINE.fullmatch(line))]
    if not _LINE.fullmatch(lines[-1]):
        return Unparsable("the last line is no verdict")
    if len(set(found)) > 1:
        return Unparsable("several verdicts")
    return str(found[-1])


def _verdict_in_json(text: str) -> str | Unparsable | None:
    """The verdict in a reply that is a JSON object, perhaps in a code fence; None if the reply is not an object."""
    bare = re.sub(r"\A\s*```\w*\s*|\s*```\s*\Z", "", text).strip()
    if not bare.startswith("{"):
        return None
    try:
        values: Any = json.loads(bare)
    except (ValueError, RecursionError):
        return None
    given = values.get("verdict") if isinstance(values, dict) else None
    if not isinstance(given, str) or given.strip().lower() not in SCORES:
        return Unparsable("the JSON object holds no verdict")
    return str(given.strip().lower())


def bracketed(labels: Sequence[str]) -> Read:
    """A reader of labels in double brackets, such as `[[A>B]]`, of which a reply gives exactly one kind."""
    known = {label.lower(): label for label in labels}
    pattern = re.compile(r"\[\[\s*([^\[\]]{1,20}?)\s*\]\]")

    def read(text: str) -> str | Unparsable:
        # Other texts in brackets, such as a list of lists in code, are not verdicts.
        found = {known[label] for each in pattern.findall(text) if (label := each.replace(" ", "").lower()) in known}
        if len(found) == 1:
            return found.pop()
        if not found:
            return Unparsable(f"no verdict in double brackets, one of {', '.join(labels)}")
        return Unparsable("several verdicts in double brackets")

    return read


def rated(lowest: float, highest: float) -> Read:
    """A reader of a rating in double brackets, such as `[[7]]`, on a scale. The label is the number's text."""
    pattern = re.compile(r"\[\[\s*(-?[0-9]+(?:\.[0-9]+)?)\s*(?:/\s*[0-9]+)?\s*\]\]")

    def read(text: str) -> str | Unparsable:
        found = set(pattern.findall(text))
        if len(found) != 1:
            return Unparsable("no rating in double brackets" if not found else "several ratings")
        rating = str(found.pop())
        if not lowest <= float(rating) <= highest:
            return Unparsable(f"the rating {rating} is not from {lowest:g} to {highest:g}")
        return rating

    return read


def judge_once(messages: Sequence[Message], read: Read, tokens: tuple[str, str] | None = None) -> Chain[Judged]:
    """Ask one question, and ask it again if the reply cannot be read.

    `tokens` are the first words of a reply for the response shown first and for the other. If the judge gives the
    log-probability of one of them, that is a verdict, whatever the text.
    """
    judged = no_verdict()
    for salt in ("", AGAIN):
        (completion,) = yield [Request(tuple(messages), salt=salt)]
        earlier, judged = judged["raw"], _judged(completion, read)
        likely = _likely(completion, tokens)
        if likely is not None:
            return _by_likelihood(judged, likely, tokens or ("", ""))
        if judged["raw"] is None and judged["label"] is None:
            judged["raw"] = earlier
        if not (judged["reason"] or "").startswith(UNPARSABLE):
            break
    return judged


def _judged(completion: Completion, read: Read) -> Judged:
    if completion.text is None or completion.finish_reason == "error":
        error = completion.error or "the reply has no text"
        return no_verdict(error if error.startswith(GAVE_UP) else f"call_failed: {error}")
    found: str | Unparsable = without_thoughts(completion.text)
    if completion.finish_reason in ("length", "content_filter"):
        what = "at max_tokens" if completion.finish_reason == "length" else "by a content filter"
        found = Unparsable(f"the reply was cut {what}")
    elif isinstance(found, str):
        found = read(found)
    if isinstance(found, Unparsable):
        return no_verdict(f"{UNPARSABLE}{found.why}", raw=valid_unicode(completion.text))
    return Judged(label=found, reason=None, raw=None, log_first=None, log_second=None)


def _likely(completion: Completion, tokens: tuple[str, str] | None) -> tuple[float | None, float | None] | None:
    """The log-probabilities of both tokens; None if neither is known. A token that is not listed is unlikely."""
    if tokens is None or completion.first_token is None:
        return None
    first, second = (completion.first_token.get(token) for token in tokens)
    return None if first is None and second is None else (first, second)


def _by_likelihood(judged: Judged, likely: tuple[float | None, float | None], tokens: tuple[str, str]) -> Judged:
    """The verdict with its log-probabilities. The likelier token is the label of a text that cannot be read."""
    first, second = likely
    second_likelier = first is None or (second is not None and second > first)
    label = judged["label"] or tokens[second_likelier]
    return Judged(label=label, reason=None, raw=None, log_first=first, log_second=second)
