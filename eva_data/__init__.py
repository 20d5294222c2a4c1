"""Grow a training curriculum for language models by creator/solver self-play (eva, arXiv 2411.00062).

    import eva_data as ed

    ed.informativeness, ed.sample, ed.pairs, ed.rejects, ed.mix    on tables of prompts and scored responses
    ed.metrics                                                     the metrics, on the rewards of one prompt
    ed.evolve                                                      prompts, rewritten by a model
    ed.build, ed.load, ed.verify, ed.EvaDataset                    datasets

Everything is loaded when it is first used, so that the import takes milliseconds.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eva_data.api import metrics as metrics
    from eva_data.api.datasets import EvaDataset as EvaDataset
    from eva_data.api.datasets import build as build
    from eva_data.api.datasets import load as load
    from eva_data.api.datasets import verify as verify
    from eva_data.api.evolving import evolve as evolve
    from eva_data.api.mixing import mix as mix
    from eva_data.api.scored import informativeness as informativeness
    from eva_data.api.scored import pairs as pairs
    from eva_data.api.scored import rejects as rejects
    from eva_data.api.scored import sample as sample

__version__ = "0.1.0"

_PLACES = {
    "EvaDataset": "datasets",
    "build": "datasets",
    "evolve": "evolving",
    "informativeness": "scored",
    "load": "datasets",
    "metrics": "",
    "mix": "mixing",
    "pairs": "scored",
    "rejects": "scored",
    "sample": "scored",
    "verify": "datasets",
}
"""Name -> the module of `eva_data.api` that defines it; the module of that name itself if empty."""

__all__ = ["__version__", *_PLACES]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.api.{_PLACES[name] or name}")
    found = getattr(module, name) if _PLACES[name] else module
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Keeps the names of `__all__`: the import system binds the folder `eva_data/evolve` to the name of a function."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _PLACES:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
