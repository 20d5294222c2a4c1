"""The blocks of the settings that name models, wherever they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from eva_data.config import Config
from eva_data.config.models import ApiModel, Endpoint, Serving, TransformersModel


def blocks_of(config: Config) -> Iterator[tuple[str, BaseModel]]:
    """Every block within the settings with its key, such as `reward.judge`; the settings themselves are not one."""
    yield from _inside(config, "")


def _inside(value: object, key: str) -> Iterator[tuple[str, BaseModel]]:
    if isinstance(value, BaseModel):
        if key:
            yield key, value
        for name in type(value).model_fields:
            yield from _inside(getattr(value, name), f"{key}.{name}" if key else name)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for place, each in enumerate(value, 1):
            yield from _inside(each, f"{key}[{place}]")


def device_of(block: BaseModel) -> str | None:
    """Where a block's model runs on this machine, such as `cuda`; None without one, or if it runs elsewhere."""
    if isinstance(block, Serving):
        return None if block.urls else getattr(block, "device", "cuda")
    device = getattr(block, "device", None)
    return device if isinstance(device, str) and getattr(block, "model", None) is not None else None


def gpus_of(block: BaseModel) -> int:
    """How many GPUs a block takes at the same time."""
    if not str(device_of(block)).startswith("cuda"):
        return 0
    return block.tensor_parallel * block.data_parallel if isinstance(block, Serving) else 1


def hub_id(block: BaseModel) -> tuple[Literal["model", "dataset"], str] | None:
    """The kind and Hub id of a model or dataset that this machine loads; None for files, folders and servers."""
    dataset = getattr(block, "dataset", None)
    if isinstance(dataset, str):
        return "dataset", dataset
    model = getattr(block, "model", None)
    served = isinstance(block, ApiModel) or (isinstance(block, Endpoint) and bool(block.urls))
    if served or not isinstance(model, str) or model.count("/") != 1 or model.startswith((".", "~", "/")):
        return None
    return None if Path(model).is_dir() else ("model", model)


def trains_here(config: Config) -> bool:
    """Whether the solver is one that `eva-data train` trains."""
    return isinstance(config.model_solver, TransformersModel) or getattr(config.model_solver, "backend", "") == "vllm"
