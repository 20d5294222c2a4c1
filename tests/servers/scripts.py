"""The training scripts as modules in this process, because the import of TRL is slow and once is enough."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from eva_data.project import train_dir

RECIPES = train_dir() / "recipes"


def load_script(name: str) -> ModuleType:
    """The module `train/<name>.py`. It imports the files beside it by their bare names, as when it runs."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    if str(train_dir()) not in sys.path:
        sys.path.insert(0, str(train_dir()))
    return import_module(name)


def arguments(folder: Path, model: Path, *more: str, recipe: Path | str = "sandbox") -> list[str]:
    """The arguments to train `model` on iteration 1 of the dataset `folder/data`, into `folder/theta`."""
    file = recipe if isinstance(recipe, Path) else RECIPES / f"{recipe}.yaml"
    return [
        *("--config", str(file), "--dataset", str(folder / "data"), "--split", "iter_1"),
        *("--model_name_or_path", str(model), "--output_dir", str(folder / "theta"), *more),
    ]
