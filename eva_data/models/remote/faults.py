"""What can go wrong with one request, sorted by the consequence.

    Fault
    ├── Transient        ask again after a while; attempts are counted, since the request itself may be the cause
    │   ├── Throttled    the server says that it is busy (429, 503, 529): send fewer requests, wait as long as it says
    │   └── Outage       the server is not there (refused, 502): wait for the server; the request is not at fault
    └── Refused          the request itself cannot be answered, and asking again would give the same

If every further request is pointless, the error is not a Fault but an EndpointError, which ends the job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from eva_data.errors import EndpointError

LONGEST_RETRY_AFTER = 3600.0
"""Seconds. If a server asks for a longer pause, it is asked again after this time."""

_SHOWN_CHARACTERS = 300


class Fault(Exception):
    """A request brought no answer."""


class Transient(Fault):
    """The request may succeed when it is made again."""


class Throttled(Transient):
    """The server is busy. `retry_after` is the pause in seconds that it asked for; None if it did not say."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Outage(Transient):
    """There is no server at the address just now."""


class Refused(Fault):
    """This request will never be answered. The message is the reason for `rejects`."""

    def __init__(self, message: str, field: str = "", code: str = "") -> None:
        super().__init__(message)
        self.field = field
        """The field of the request that the server names as the cause; empty if it names none."""
        self.code = code


class NotGreedy(Refused):
    """The model refuses temperature 0, so it cannot answer greedily."""


MOST_SAME_REFUSALS = 20
"""So many refusals in the same words, without an answer between them, cannot be about the prompts."""

_PARTICULARS = re.compile(r"\S*\d\S*")
"""Words with digits, such as numbers of requests and times."""


class Refusals:
    """Counts the refusals of one job."""

    last = ""
    in_a_row = 0
    """Number of refusals in the same words since the last answer."""

    def note(self, reason: str, model: str) -> None:
        """Count a refusal. Raise EndpointError if so many in the same words show that no request is at fault."""
        same = _PARTICULARS.sub("", reason) == _PARTICULARS.sub("", self.last)
        self.in_a_row, self.last = self.in_a_row + 1 if same else 1, reason
        if self.in_a_row >= MOST_SAME_REFUSALS and reason.startswith("bad_request"):
            raise EndpointError(
                f"`{model}` has refused {self.in_a_row} requests in a row with the same words "
                f"({reason.partition(': ')[2]}): this is not about their prompts; mend what it says, then run the same "
                "command again; what was finished is kept"
            )


def fault_of(status: int, body: str, headers: Mapping[str, str], *, key_name: str, model: str, url: str) -> Fault:
    """The fault that an HTTP status other than 200 means for the request.

    Raise EndpointError if it means the same for every other request.
    """
    said, code, field = _said(body)
    shown = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    words = f"{code} {said}".lower()
    if status in (400, 403, 429) and _is_used_up(status, code.lower(), words):
        raise EndpointError(
            f"{url} says that the account of the key in {key_name} has no money left ({shown}): raise its limit, then "
            "run the same command again; what was finished is kept"
        )
    if status == 403 and any(word in words for word in _FILTERED):
        return Refused(f"content_filter: {said}")
    if status == 403 and "logprobs" in words:
        # OpenAI forbids log-probabilities of some models; the key is good.
        return Refused(f"bad_request: {said}", field, code)
    if status in (401, 402, 403):
        raise EndpointError(
            f"{url} refuses the key ({shown}): put a valid one into the environment variable {key_name}, "
            "or name another in `api_key_env`"
        )
    if status == 404:
        address = ", and that `base_url` is right, usually ending in /v1" if "://" in url else ""
        raise EndpointError(f"{url} does not know the model `{model}` ({shown}): check `model`{address}")
    if status in (429, 503, 529):
        return Throttled(shown, retry_after(headers))
    if status == 502:
        return Outage(shown)
    if status in (400, 413, 422):
        return Refused(_refusal(said, words, status), field, code)
    if 400 <= status < 500 and status not in _MOMENTARY:
        return Refused(f"bad_request: {shown}")
    return Transient(shown)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a reply's `Retry-After` asks for, as a number or a date; None if there is no valid value."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    # NaN is not equal to itself.
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if seconds == seconds else None


_MOMENTARY = (408, 409, 424, 425, 499)
"""Client errors for which the request is not at fault: a timeout, a conflict, a failed shard, a cancelled upstream."""
_USED_UP_CODES = (
    "billing_hard_limit_reached", "insufficient_quota", "billing_not_active", "account_deactivated",
    "insufficient_balance", "insufficient_credits", "quota_exceeded", "spend_limit_reached",
)  # fmt: skip
_USED_UP = ("billing hard limit", "credit balance is too low", "insufficient balance", "insufficient credit")
_TOO_LONG = re.compile(
    r"context[ _](length|size|window|limit)|max(imum)?[ _]model[ _]len|too long|too many (input )?tokens"
    r"|exceed\w* .{0,60}token|token.{0,60} exceed|less than \d+ tokens"
    r"|maximum (allowed )?(input|prompt) (length|tokens)|reduce the length"
    r"|(input|prompt) (is )?(longer|larger) than|(input|prompt) length"
)
"""How OpenAI, vLLM, SGLang, llama.cpp, TGI, Gemini, Anthropic, Mistral and NIM say that a prompt is too long."""
_FILTERED = ("content_filter", "content management policy", "content policy", "safety", "moderation")
SYSTEM_ROLE = "bad_request: system role: "
"""The start of a refusal of a system message, whatever the server's own words are."""


def _is_used_up(status: int, code: str, words: str) -> bool:
    # With status 429, only the code tells an empty account from a busy minute.
    return code in _USED_UP_CODES or (status != 429 and any(word in words for word in _USED_UP))


def _refusal(said: str, words: str, status: int) -> str:
    if status == 413 or _TOO_LONG.search(words):
        return f"context_length_exceeded: {said}"
    if any(word in words for word in _FILTERED):
        return f"content_filter: {said}"
    if "system role" in words or "role 'system'" in words:
        return f"{SYSTEM_ROLE}{said}"
    return f"bad_request: {said}"


def _said(body: str) -> tuple[str, str, str]:
    """The message, the code and the field in a server's error, in the forms of OpenAI, vLLM, FastAPI, TGI and Gemini.

    Any other body is the message itself.
    """
    try:
        found: Any = json.loads(body)
    except ValueError:
        return _short(body), "", ""
    if isinstance(found, list) and found:
        # Gemini puts the error in a list.
        found = found[0]
    if not isinstance(found, dict):
        return _short(body), "", ""
    inner = found.get("error", found)
    if isinstance(inner, str):
        # TGI puts the message here and its kind beside it.
        return _short(inner), str(found.get("error_type") or found.get("code") or ""), ""
    if not isinstance(inner, dict):
        return _short(body), "", ""
    message = inner.get("message") or inner.get("detail") or body
    code = inner.get("code")
    # A numeric code only repeats the status; the type says more.
    named = code if isinstance(code, str) and code else inner.get("type") or inner.get("status") or code or ""
    return _short(str(message)), str(named), str(inner.get("param") or "")


def _short(text: str) -> str:
    return " ".join(text.split())[:_SHOWN_CHARACTERS]
