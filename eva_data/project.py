"""Finds the scripts and templates of `pipelines/`, `train/` and `cards/`, and the functions that a user names.

The folders are no import packages, so that nothing of a generic name lands in site-packages: a wheel carries them in
`eva_data/_bundled/`, a checkout has them beside the package.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from eva_data.errors import ConfigError, EvaError

_PACKAGE = Path(__file__).resolve().parent

SETTINGS_FOLDER = "EVA_DATA_SETTINGS_FOLDER"
"""The environment variable that tells child processes where eva.yaml lies."""


def remember_settings(path: Path | None) -> None:
    """Have functions looked for beside this eva.yaml, here and in child processes; None: in the current folder."""
    if path is None:
        os.environ.pop(SETTINGS_FOLDER, None)
    else:
        os.environ[SETTINGS_FOLDER] = str(path.resolve().parent)


def load_function(function: str, key: str) -> Callable[..., Any]:
    """The callable that the setting `key` names: `package.module:function`, or `scores.py:function` by its file.

    Modules and files are looked for beside eva.yaml first. Raises ConfigError where there is none, and where its
    module cannot be imported.
    """
    place, _, name = function.rpartition(":")
    folder = Path(os.environ.get(SETTINGS_FOLDER, "."))
    try:
        module = _load_file(place, folder, key) if place.endswith(".py") else _load_module(place, folder)
    except EvaError:
        raise
    except ModuleNotFoundError as error:
        wanted = error.name or place
        if wanted == place or place.startswith(f"{wanted}."):
            found = f"the module `{wanted}` cannot be found"
        else:
            found = f"it imports the module `{wanted}`, which cannot be found"
        raise ConfigError(
            f"`{key}` is `{function}`, but {found}: put it beside eva.yaml, install its package, or put its folder on "
            "PYTHONPATH"
        ) from None
    except Exception as error:
        # The user's own module, which may raise whatever it likes.
        raise ConfigError(
            f"`{key}` is `{function}`, but `{place}` cannot be imported: {type(error).__name__}: {error}"
        ) from error
    named = vars(module).get(name)
    if not callable(named):
        raise ConfigError(f"`{key}` is `{function}`, but `{place}` has no function `{name}`")
    found_function: Callable[..., Any] = named
    return found_function


def _load_module(name: str, folder: Path) -> ModuleType:
    with _first_on_path(folder):
        return importlib.import_module(name)


def _load_file(name: str, folder: Path, key: str) -> ModuleType:
    given = Path(name).expanduser()
    path = next((path.resolve() for path in (folder / given, given) if path.is_file()), None)
    if path is None:
        raise ConfigError(f"`{key}` names the file {name}, and there is none in {folder.resolve()}: write its path")
    module_name = f"_{path.stem}_{sha256(str(path).encode()).hexdigest()[:8]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None, f"{path} ends in .py"
    module = module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with _first_on_path(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    """Imports look into the folder first, and afterwards last: what a function imports when called is there, too."""
    place = str(folder.resolve())
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(place)
        if place not in sys.path:
            sys.path.append(place)


def pipelines_dir() -> Path:
    """The folder of Distilabel pipelines; each file has `def build(config) -> Pipeline`."""
    return _folder("pipelines")


def train_dir() -> Path:
    """The folder of training scripts, and of `recipes/`."""
    return _folder("train")


def cards_dir() -> Path:
    """The folder of Jinja templates of cards."""
    return _folder("cards")


def load_pipeline(name: str) -> ModuleType:
    """The module in `pipelines/<name>.py`, executed anew at each call and not entered in `sys.modules`.

    Raises EvaError where there is no such file; what the file itself raises rises.
    """
    folder = pipelines_dir()
    path = folder / f"{name}.py"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.py"))) or "none"
        raise EvaError(f"there is no pipeline `{name}` in {folder}: known are {known}")
    spec = spec_from_file_location(f"pipelines.{name}", path)
    assert spec is not None and spec.loader is not None, f"{path} ends in .py"
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _folder(name: str) -> Path:
    for folder in (_PACKAGE / "_bundled" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise EvaError(
        f"the folder `{name}` is neither in {_PACKAGE / '_bundled'} (a wheel) nor in {_PACKAGE.parent} "
        "(a checkout): this installation is incomplete, install eva-data again"
    )
