"""What can go wrong with one request, sorted by what follows from it.

    Fault
    ├── Transient        ask again after a while; counted, since it may be this request's own fault
    │   ├── Throttled    the server says it is busy (429, 503): fewer at once, and wait as long as it says
    │   └── Outage       nobody is there (refused, 502): wait for the server, not for the request
    └── Refused          asking again gives the same: the request itself cannot be answered

What makes every further request pointless is no Fault but an EndpointError, which ends the job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from eva_data.errors import EndpointError

LONGEST_RETRY_AFTER = 3600.0
"""Seconds. A server that asks for more is asked again all the same."""

_SHOWN_CHARACTERS = 300


class Fault(Exception):
    """A request that brought no answer."""


class Transient(Fault):
    """May succeed when it is made again."""


class Throttled(Transient):
    """The server is busy; `retry_after` is how many seconds it asked for, None where it did not say."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Outage(Transient):
    """There is no server at the other end just now."""


class Refused(Fault):
    """This request will never be answered; the message is the reason for `rejects`."""


def fault_of(status: int, body: str, headers: Mapping[str, str], *, key_name: str, model: str, url: str) -> Fault:
    """What an HTTP status other than 200 means for the request.

    Raises EndpointError where it means the same for every other request.
    """
    said, code = _said(body)
    shown = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    if status == 403 and any(words in f"{code} {said}".lower() for words in _FILTERED):
        return Refused(f"content_filter: {said}")
    if status in (401, 402, 403):
        raise EndpointError(
            f"{url} refuses the key ({shown}): put a valid one into the environment variable {key_name}, "
            "or name another in `api_key_env`"
        )
    if status == 404:
        address = ", and that `base_url` is right, usually ending in /v1" if "://" in url else ""
        raise EndpointError(f"{url} does not know the model `{model}` ({shown}): check `model`{address}")
    if status == 429 and code == "insufficient_quota":
        raise EndpointError(f"{url} says that the quota of the key in {key_name} is used up ({said})")
    if status in (429, 503, 529):
        return Throttled(shown, retry_after(headers))
    if status == 502:
        return Outage(shown)
    if status in (400, 413, 422):
        return Refused(_refusal(said, code, status))
    if 400 <= status < 500 and status not in (408, 409, 425):
        return Refused(f"bad_request: {shown}")
    return Transient(shown)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a reply's `Retry-After` asks for, given as a number or as a date; None without a valid one."""
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    # NaN compares as false with everything.
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if seconds == seconds else None


_TOO_LONG = ("context length", "context_length", "maximum model length", "max_model_len", "too long", "too many tokens")
_FILTERED = ("content_filter", "content management policy", "content policy", "safety", "moderation")
SYSTEM_ROLE = "bad_request: system role: "
"""How the refusal of a system message begins, whatever words the server had for it."""


def _refusal(said: str, code: str, status: int) -> str:
    text = f"{code} {said}".lower()
    if status == 413 or any(words in text for words in _TOO_LONG):
        return f"context_length_exceeded: {said}"
    if any(words in text for words in _FILTERED):
        return f"content_filter: {said}"
    if "system role" in text or "role 'system'" in text:
        return f"{SYSTEM_ROLE}{said}"
    return f"bad_request: {said}"


def _said(body: str) -> tuple[str, str]:
    """The message and the code in a server's error, as OpenAI, vLLM and FastAPI write it; else the text itself."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return _short(body), ""
    if isinstance(found, dict):
        inner = found.get("error", found)
        if isinstance(inner, dict):
            message = inner.get("message") or inner.get("detail") or body
            return _short(str(message)), str(inner.get("code") or inner.get("type") or "")
    return _short(body), ""


def _short(text: str) -> str:
    return " ".join(text.split())[:_SHOWN_CHARACTERS]
