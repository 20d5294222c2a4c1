"""What the settings rely on beside this machine: keys, servers, vLLM's environment, the Hub and Argilla."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from typing import Literal

from eva_data.config import Config
from eva_data.config.models import ApiModel, Endpoint, VllmModel
from eva_data.config.rewards import RewardServer
from eva_data.doctor.blocks import blocks_of, hub_id
from eva_data.doctor.examined import Examined, tried
from eva_data.errors import HubError, MissingExtraError, ModelError
from eva_data.hub.repo import HubRepo
from eva_data.models.keys import read_key
from eva_data.models.listing import look
from eva_data.models.vllm.command import interpreter

_SECONDS = 120
_VERSION = "import importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in m.packages_distributions()['vllm']))"


def look_at_services(config: Config) -> Iterator[Examined]:
    """Findings about everything that a build asks. Nothing that costs money is asked."""
    for key, block in blocks_of(config):
        if isinstance(block, Endpoint) and getattr(block, "model", None) is not None:
            yield from _endpoint(key, block)
    yield from _hub(config)
    if config.review.api_url is not None or os.environ.get("ARGILLA_API_URL"):
        yield tried("review", lambda: _argilla(config))


def _endpoint(key: str, block: Endpoint) -> Iterator[Examined]:
    model = str(getattr(block, "model", ""))
    if block.api_key_env is not None:
        found = tried(key, lambda: _key(block.api_key_env, model))
        yield found
        if found.state != "ok":
            return
    if block.urls and isinstance(block, ApiModel | VllmModel | RewardServer):
        yield tried(key, lambda: f"{', '.join(block.urls)} serves {look(block).fingerprint}")
    elif isinstance(block, VllmModel | RewardServer):
        yield tried(key, lambda: _vllm(key, block))
    else:
        yield Examined(key, "unknown", f"the first request shows whether the provider serves `{model}`; it costs")


def _key(variable: str | None, model: str) -> str:
    read_key(variable, model)
    return f"{variable} holds a key of `{model}`"


def _vllm(key: str, block: VllmModel | RewardServer) -> str:
    program = interpreter(block, key)
    try:
        done = subprocess.run([program, "-c", _VERSION], capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"`{key}.python` is {program}, which does not start: {error}") from None
    if done.returncode:
        raise ModelError(
            f"{program} has no vLLM: install it there, or name the interpreter of its environment as `{key}.python`, "
            "or name the `base_url` of a server that runs already"
        )
    return f"{program} has {done.stdout.strip()}"


def _hub(config: Config) -> Iterator[Examined]:
    ids = sorted({found for _, block in blocks_of(config) if (found := hub_id(block)) is not None})
    repo = config.publish.repo
    if not ids and repo is None:
        yield Examined("hub", "ok", "nothing in the settings is on the Hub")
        return
    from huggingface_hub.constants import HF_HUB_OFFLINE

    if HF_HUB_OFFLINE:
        yield Examined("hub", "warning", "HF_HUB_OFFLINE is set: only what was downloaded before can be used")
        return
    # A public repo can be read by everybody.
    yield tried("hub", lambda: f"logged in as {HubRepo(repo or ids[0][1]).login()}", "problem" if repo else "warning")
    for kind, name in ids:
        yield tried("hub", partial(_readable, name, kind))


def _readable(name: str, kind: Literal["model", "dataset"]) -> str:
    if not HubRepo(name, kind=kind).may_read():
        raise HubError(f"the {kind} {name} is not on the Hub, or not for this login: check the name, or log in")
    return f"the {kind} {name} is there and may be read"


def _argilla(config: Config) -> str:
    if find_spec("argilla") is None:
        raise MissingExtraError.of("argilla", "review")
    from eva_data.review.connection import connect

    with connect(config.review) as argilla:
        return f"Argilla answers at {argilla.url}, and the key is valid there"
