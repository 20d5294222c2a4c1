"""Finds the scripts and templates of `pipelines/`, `train/` and `cards/`, in a checkout or in a wheel.

These folders are not import packages, so that no package of a generic name lands in site-packages. A wheel carries
them in `eva_data/_bundled/`, and a checkout has them beside the package.
"""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from eva_data.errors import EvaError

_PACKAGE = Path(__file__).resolve().parent


def pipelines_dir() -> Path:
    """The folder of Distilabel pipelines; each file has `def build(config) -> Pipeline`."""
    return _folder("pipelines")


def train_dir() -> Path:
    """The folder of training scripts and of `recipes/`."""
    return _folder("train")


def cards_dir() -> Path:
    """The folder of Jinja templates of cards."""
    return _folder("cards")


def load_pipeline(name: str) -> ModuleType:
    """The module in `pipelines/<name>.py`, executed anew at each call and not entered in `sys.modules`.

    Raise EvaError if there is no such file. Exceptions of the file itself are not caught.
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
