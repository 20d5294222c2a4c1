"""Checks that a theta is whole and is the model that was trained here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eva_data.dataset.store import Store
from eva_data.errors import DataError


def read_training(store: Store, theta: int) -> dict[str, Any]:
    """The record of a theta's training. Raise DataError if it cannot be read."""
    folder = store.solver_folder(theta)
    return _read_object(folder / "training.json", folder, theta)


def recipe_of(store: Store, theta: int) -> str | None:
    """The hash of the user's own recipe for a theta; None if the recipe came with eva-data or is unknown."""
    recipe: str | None = read_training(store, theta).get("recipe_sha256")
    return recipe


def refuse_damaged(store: Store, theta: int) -> None:
    """Raise DataError if a file of a theta is missing, cannot be read, or is cut off."""
    folder = store.solver_folder(theta)
    read_training(store, theta)
    _read_object(folder / "config.json", folder, theta)
    weights = sorted(folder.glob("*.safetensors"))
    for path in weights:
        if not _is_whole(path):
            raise _damaged(folder, theta, f"{path.name} is not as long as it says itself")
    index = folder / "model.safetensors.index.json"
    named = set(_read_object(index, folder, theta).get("weight_map", {}).values()) if index.exists() else set()
    if absent := sorted(named - {path.name for path in weights}):
        raise _damaged(folder, theta, f"{absent[0]} is missing")
    if not weights:
        raise _damaged(folder, theta, "it has no weights")


def refuse_other(store: Store, theta: int, fingerprint: str) -> None:
    """Raise DataError if the hash of a theta's folder differs from the hash of the trained model."""
    trained = read_training(store, theta).get("fingerprint")
    if trained is not None and fingerprint.rpartition("@")[2] != trained:
        raise _damaged(store.solver_folder(theta), theta, "its files are not those that were trained, by their SHA-256")


def _damaged(folder: Path, theta: int, what: str) -> DataError:
    return DataError(
        f"theta_{theta} in {folder} is damaged ({what}): restore it, or remove the folder and train it anew with "
        f"`eva-data train --iter {theta}`"
    )


def _read_object(path: Path, folder: Path, theta: int) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _damaged(folder, theta, f"{path.name} is missing") from None
    except (OSError, ValueError):
        raise _damaged(folder, theta, f"{path.name} cannot be read") from None
    if not isinstance(found, dict):
        raise _damaged(folder, theta, f"{path.name} holds no settings")
    return found


def _is_whole(path: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, size)))
        ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False
    return bool(size == 8 + length + max(ends, default=0))
