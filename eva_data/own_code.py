"""Loads a user's own Python functions by their names in the settings.

A function is named `package.module:function`, or `file.py:function` with a path from the folder of eva.yaml. The
modules in that folder can be imported like installed modules; an installed module of the same name goes first.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from eva_data.errors import ConfigError, EvaError, ForeignCodeError

FOLDER = "EVA_DATA_OWN_CODE"
"""The environment variable that tells this process and its children the folder of eva.yaml."""


def look_beside(config: Path) -> None:
    """From now on, look for own functions in the folder of this config file too."""
    os.environ[FOLDER] = str(config.resolve().parent)


def is_own(name: str) -> bool:
    """Whether a name in the settings means a user's own function and not something that eva-data has."""
    return ":" in name


_allowed: ContextVar[Collection[str] | None] = ContextVar("allowed", default=None)


@contextmanager
def only(names: Collection[str]) -> Iterator[None]:
    """While this lasts, load no function but these. It stands around all work by the settings in a manifest.

    A manifest may have come from a stranger, and a name in it is no consent to import a module or to call anything.
    """
    token = _allowed.set(names)
    try:
        yield
    finally:
        _allowed.reset(token)


def load_function(name: str, key: str) -> Callable[..., Any]:
    """The function of that name. `key` is the setting that names it.

    Raise ConfigError if there is no such function, and ForeignCodeError if it may not be loaded now (`only`).
    """
    allowed = _allowed.get()
    if allowed is not None and name not in allowed:
        raise ForeignCodeError(
            f"`{key}` is `{name}` in the manifest, and your settings do not name this function, so it is not loaded: "
            f"name it there if you trust it"
        )
    place, function = _split(name, key)
    module = _from_file(place, name, key) if place.endswith(".py") else _imported(place, name, key)
    found = vars(module).get(function)
    if not callable(found):
        raise ConfigError(f"`{key}` is `{name}`, but `{place}` has no function `{function}`")
    loaded: Callable[..., Any] = found
    return loaded


def identity(name: str, function: Callable[..., Any], version: str = "") -> str:
    """What a function is: its name without folders, then `@` and its version, else the hash of its source file."""
    code = Path(function.__code__.co_filename) if hasattr(function, "__code__") else _file_of(function)
    source = sha256(code.read_bytes()).hexdigest()[:12] if code and code.exists() else "unknown"
    return f"{shown(name)}@{version or source}"


def shown(name: str) -> str:
    """The name of a function without the folders of its file."""
    place, _, own_name = name.rpartition(":")
    return f"{Path(place).name}:{own_name}" if place.endswith(".py") else name


def _file_of(function: Callable[..., Any]) -> Path | None:
    """The file of a class; None for everything else."""
    module = sys.modules.get(function.__module__) if inspect.isclass(function) else None
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file)


def _split(name: str, key: str) -> tuple[str, str]:
    place, _, function = name.rpartition(":")
    if not place or not function:
        raise ConfigError(f"`{key}` is `{name}`: a function is named `package.module:function` or `file.py:function`")
    return place, function


def _imported(module: str, name: str, key: str) -> ModuleType:
    folder = os.environ.get(FOLDER)
    with _importing(module, name, key):
        if folder:
            _look_in(Path(folder))
        return importlib.import_module(module)


def _from_file(file: str, name: str, key: str) -> ModuleType:
    path = Path(os.environ.get(FOLDER, ""), Path(file).expanduser()).resolve()
    if not path.is_file():
        raise ConfigError(
            f"`{key}` is `{name}`, and there is no file {path}: give its path from the folder of eva.yaml"
        )
    # The name holds a hash of the path: two files of one name are two modules, and a loaded file is not run again.
    own_name = f"eva_data_own_{sha256(str(path).encode()).hexdigest()[:12]}"
    if own_name in sys.modules:
        return sys.modules[own_name]
    spec = spec_from_file_location(own_name, path)
    assert spec is not None and spec.loader is not None, f"{path} ends in .py"
    module = module_from_spec(spec)
    sys.modules[own_name] = module
    try:
        with _importing(file, name, key):
            _look_in(path.parent)
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own_name]
        raise
    return module


def _look_in(folder: Path) -> None:
    """Let Python find modules in a folder, after all other places, so that no file there hides a library."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.append(place)
        importlib.invalidate_caches()


@contextmanager
def _importing(place: str, name: str, key: str) -> Iterator[None]:
    """Turn any exception from an import of the user's code into a ConfigError."""
    try:
        yield
    except EvaError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or place
        is_it = missing == place or place.startswith(f"{missing}.")
        found = f"the module `{missing}` cannot be found"
        raise ConfigError(
            f"`{key}` is `{name}`, but {found if is_it else f'it imports another one: {found}'}: install its package, "
            "put the module beside eva.yaml, or put its folder on PYTHONPATH"
        ) from None
    except Exception as error:
        # This is the user's own module, which may raise anything.
        raise ConfigError(
            f"`{key}` is `{name}`, but `{place}` cannot be imported: {type(error).__name__}: {error}"
        ) from error
