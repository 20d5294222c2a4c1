"""Asks a server which model runs behind its URL, before a build relies on it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import requests

from eva_data.config import ApiModel, RewardServer, VllmModel
from eva_data.errors import EndpointError, ModelError
from eva_data.models.keys import key_headers, read_key
from eva_data.models.way import proxy_of

_SECONDS = 30
_LOG = logging.getLogger("eva_data")


@dataclass(frozen=True)
class Served:
    """A model as its server describes it."""

    fingerprint: str
    """`model@revision+hash`. The hash is the hash of the served folder, if it can be read on this machine."""
    is_vllm: bool


def look(block: ApiModel | VllmModel | RewardServer) -> Served:
    """Ask the servers of a block what they serve under the name of the block's model.

    At least one server must be reachable now; the others may become reachable later. A list without the model is only
    a warning, because routers accept names that they do not list; the first request decides. Raise EndpointError if no
    server can be reached or one refuses the key, and ModelError if they serve different models.
    """
    entries = [entry for url in block.urls if (entry := _entry(url, block)) is not None]
    if not entries:
        raise EndpointError(
            f"no server answers at {', '.join(block.urls)}: start it, or correct `base_url`; it ends where "
            "`/chat/completions` begins, usually in /v1"
        )
    roots = {str(entry.get("root") or "") for entry in entries}
    prints = {_folder_hash(root) for root in roots}
    if len(prints) > 1:
        raise ModelError(
            f"the servers of `{block.model}` serve different folders under that name ({', '.join(sorted(roots))}): "
            "give all of `base_url` the same model"
        )
    name = f"{block.model}@{block.revision or 'unknown'}"
    (content,) = prints
    return Served(name + (f"+{content}" if content else ""), all(entry.get("owned_by") == "vllm" for entry in entries))


def trouble_at(url: str) -> str | None:
    """Why a server does not answer a request to this URL with success; None if it does."""
    try:
        status = _get(url, {}).status_code
    except requests.RequestException as error:
        return f"no server answers there ({type(error).__name__})"
    return None if status == 200 else f"the server answers with HTTP {status}"


def _get(url: str, headers: Mapping[str, str]) -> requests.Response:
    with requests.Session() as session:
        # The environment's netrc would replace the key, and its proxies cannot reach this machine.
        session.trust_env = False
        proxy = proxy_of(url)
        return session.get(
            url,
            headers=headers,
            proxies={"http": proxy, "https": proxy} if proxy else {},
            verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE") or True,
            timeout=_SECONDS,
        )


def _entry(url: str, block: ApiModel | VllmModel | RewardServer) -> dict[str, Any] | None:
    """The model's entry in the server's list; empty if the server has no list, None if it cannot be reached."""
    key = read_key(block.api_key_env, block.model)
    try:
        reply = _get(f"{url}/models", key_headers(key))
    except (requests.ConnectionError, requests.Timeout):
        return None
    if reply.status_code in (401, 403):
        raise EndpointError(
            f"{url} refuses the key (HTTP {reply.status_code}): put a valid one into the environment variable "
            f"{block.api_key_env or 'that `api_key_env` names (none is named)'}"
        )
    if reply.status_code >= 500:
        return None
    try:
        listed = [entry for entry in reply.json()["data"] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError):
        return {}
    found = next((entry for entry in listed if entry.get("id") == block.model), None)
    if found is None and listed:
        names = ", ".join(sorted(str(entry.get("id")) for entry in listed)[:10])
        _warn(f"{url} does not list `{block.model}`, but {names}; the first request shows whether it serves it")
    return found or {}


@cache
def _warn(sentence: str) -> None:
    """Give a warning once."""
    _LOG.warning("%s", sentence)


def _folder_hash(root: str) -> str:
    from eva_data.models.resolve import folder_fingerprint

    path = Path(root)
    return folder_fingerprint(path) if path.is_absolute() and (path / "config.json").is_file() else ""
