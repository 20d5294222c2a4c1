"""What a request to a model may carry: fields of its body and options of litellm, but no address, key or code."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

OPTIONS = frozenset(
    {
        "additional_drop_params", "allowed_openai_params", "drop_params", "frequency_penalty", "logit_bias",
        "max_completion_tokens", "modalities", "parallel_tool_calls", "prediction", "presence_penalty",
        "reasoning_effort", "response_format", "safety_identifier", "safety_settings", "seed", "service_tier",
        "stop", "store", "thinking", "top_k", "user", "verbosity",
    }
)  # fmt: skip
"""Keyword arguments of litellm that change an answer and nothing else; all others are refused."""

OURS = frozenset({"messages", "model", "n", "stream"})
"""Fields that eva-data sets itself and relies on."""

_ADDRESSES = frozenset(
    {
        "aclient", "api_base", "api_version", "azure_ad_token", "base_url", "callbacks", "client",
        "custom_llm_provider", "endpoint_url", "extra_headers", "failure_callback", "fallbacks", "headers",
        "http_client", "input_callback", "litellm_credential_name", "logger_fn", "model_list", "organization",
        "proxies", "proxy", "shared_session", "ssl_verify", "success_callback", "timeout",
    }
)  # fmt: skip
"""Names that say where a request goes, who answers it, or what runs beside it. None is a field of a body."""

_SECRETS = re.compile(
    r"(?!(prompt_)?cache_key)(.*_)?(api)?_?key|aws_access_key_id|(.*_)?(authorization|auth|bearer(_token)?|secret)"
    r"|(.*_)?(password|passwd|passphrase|credentials?|cookie)|token"
    # Many tokens of a tokenizer are fields of a request, such as `stop_token`.
    r"|(.*_)?(access|ad|api|auth|csrf|hf|id|refresh|security|session|user)_token"
)
_KEY_TEXT = re.compile(
    r"(?i:bearer|basic)\s+[\w.~+/=-]{8,}|\bsk-[\w-]{8,}|\b(hf|gsk|xai|r8|ghp|gho|glpat)[_-]\w{16,}|\bAIza[\w-]{20,}"
    r"|\bnvapi-[\w-]{16,}|\bAKIA[0-9A-Z]{12,}"
)
_SECRET_VARIABLE = re.compile(r".*(_KEY|_TOKEN|_SECRET|_PASSWORD)")
_WAY_OUT = "keys stay out of files: name the environment variable that holds it in `api_key_env`"


def checked(name: str, given: Mapping[str, Any]) -> None:
    """Raise ValueError if a block of fields names an address, holds a key, or replaces what eva-data sets itself."""
    for key in given:
        plain = key.lower().replace("-", "_")
        if plain in OURS:
            raise ValueError(f"`{name}` holds `{key}`, which eva-data sets itself: leave it out")
        if plain in _ADDRESSES:
            raise ValueError(
                f"`{name}` holds `{key}`, which would say where requests go or what runs beside them: leave it out, "
                "and give the server's address in `base_url` and the variable of its key in `api_key_env`"
            )
    for path, value in _leaves(given):
        last = path.rpartition(".")[2].lower().replace("-", "_")
        if _SECRETS.fullmatch(last) and isinstance(value, str):
            raise ValueError(f"`{name}` holds `{path}`, which looks like a key: {_WAY_OUT}")
        if isinstance(value, str) and looks_secret(value):
            raise ValueError(f"the value of `{path}` in `{name}` looks like a key: {_WAY_OUT}")


def checked_options(given: Mapping[str, Any]) -> None:
    """Raise ValueError if `options` holds a keyword argument that does not merely change an answer."""
    checked("options", given)
    unknown = sorted(given.keys() - OPTIONS)
    if unknown:
        raise ValueError(
            f"`options` holds `{unknown[0]}`, which is not among the keyword arguments that eva-data passes on to "
            f"litellm, {', '.join(sorted(OPTIONS))}: a field of the request's body goes into `extra_body`"
        )


def checked_address(url: str) -> None:
    """Raise ValueError if a server's address holds a key."""
    parts = urlsplit(url)
    # Some servers separate by semicolons, and nobody sends a fragment: what stands there was meant for the query.
    given = "&".join((parts.query, parts.fragment)).replace(";", "&")
    for name, value in parse_qsl(given, keep_blank_values=True):
        if _SECRETS.fullmatch(name.lower().replace("-", "_")) or looks_secret(value):
            raise ValueError(f"`base_url` holds `{name}=`, which looks like a key: {_WAY_OUT}")
    if looks_secret(unquote(parts.path)):
        raise ValueError(f"the path of `base_url` looks like a key: {_WAY_OUT}")


def checked_variable(name: str | None) -> None:
    """Raise ValueError if the name of an environment variable may be the key itself; the message does not repeat it."""
    if name is not None and (not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or looks_secret(name)):
        raise ValueError(
            "`api_key_env` is not the name of an environment variable, but perhaps the key itself: put the key into a "
            "variable, such as MY_KEY, and write `api_key_env: MY_KEY`"
        )


def misplaced(extra_body: Mapping[str, Any]) -> str | None:
    """Say which keyword arguments of litellm are in `extra_body` and what to write instead; None if there are none."""
    found = {key: value for key, value in extra_body.items() if key in OPTIONS and value is not None}
    if not found:
        return None
    rest = {key: value for key, value in extra_body.items() if key not in found}
    names = ", ".join(f"`{key}`" for key in found)
    lines = f"`options: {_line(found)}`" + (f" and `extra_body: {_line(rest)}`" if rest else "")
    takes = "is a keyword argument" if len(found) == 1 else "are keyword arguments"
    instead = "" if rest else " instead of `extra_body`"
    return (
        f"{names} in `extra_body` {takes} of litellm, no field of the request's body: write {lines}{instead}; "
        "what is paid for stays found"
    )


def looks_secret(text: str) -> bool:
    """Whether a text has the form of a key, or is the value of an environment variable that holds one."""
    if _KEY_TEXT.search(text):
        return True
    return any(
        len(value) >= 8 and value in text for name, value in os.environ.items() if _SECRET_VARIABLE.fullmatch(name)
    )


def _line(value: Mapping[str, Any]) -> str:
    text: str = yaml.safe_dump(dict(value), default_flow_style=True, sort_keys=False, width=10_000)
    return text.strip()


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner, path)
    else:
        yield path, value
