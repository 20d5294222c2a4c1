"""Says what settings do beyond setting values, a sentence for each key: before a build, and in a pulled eva.yaml."""

from __future__ import annotations

from typing import Any

from eva_data.config.base import Settings
from eva_data.config.marks import Mark, MarkedKey, named
from eva_data.config.models import ApiModel, Endpoint
from eva_data.config.whole import Config
from eva_data.foreign import visible

_OF_KEYS = {
    "environment": "makes prompts on this machine by the package of {value}",
    "config": "takes the configuration {value}",
    "metric": "calls {value} on this machine with rewards",
    "method": "calls {value} on this machine for the strategies of the creator",
    "function": "calls {value} on this machine with prompts and responses",
    "trust_remote_code": "runs code on this machine that comes with the model",
    "python": "starts {value} on this machine",
    "arguments": "starts a server on this machine with {value}",
    "recipe": "trains by the recipe {value}",
    "dataset": "reads the data set {value}, and its rows go to the models",
    "repo": "publishes to {value}",
    "report_to": "sends the training's metrics to {value}",
    "api_key_env": "signs requests with the key in the environment variable {value}",
    "extra_body": "puts {value} into every request, beside your key",
    "prices": "counts {value} against a budget",
    "tokenizer": "loads the tokenizer {value}",
}
_OF_MARKS: dict[Mark, str] = {
    "code": "runs code on this machine: {value}",
    "path": "reads or writes {value}",
    "address": "sends requests to {value}",
    "paid": "goes out with your key: {value}",
    "model": "loads the model {value} on this machine",
}
_LONGEST = 200

_OWN_PLACES = ("folder", "ledger")
"""Keys for the places where eva-data keeps what it makes. They need no mention."""


def consequence(found: MarkedKey) -> str:
    """What a key would do, as a sentence without a full stop."""
    key = found.key.rpartition(".")[2]
    told = _OF_KEYS.get(key) or _OF_MARKS[found.mark]
    if key == "model" and isinstance(found.block, Endpoint) and found.block.urls:
        told = "asks for the model {value} at " + ", ".join(found.block.urls)
    elif key == "model" and isinstance(found.block, ApiModel):
        told = "asks for the model {value} at its provider, with your key and at your expense"
    return f"`{found.key}` " + visible(told.replace("{value}", _shown(found.value)), longest=_LONGEST)


def consequences(config: Config) -> list[str]:
    """What a build with these settings would run, read, ask and send, one line each."""
    return [consequence(found) for found in named(config) if found.key not in _OWN_PLACES]


def _shown(value: Any) -> str:
    if isinstance(value, Settings):
        return str(value.model_dump(mode="json"))
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
