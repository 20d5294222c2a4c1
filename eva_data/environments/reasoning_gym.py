"""reasoning-gym (Stojanovski et al. 2025, arXiv 2505.24760): procedural tasks, their scorers, and their curricula.

A task is made by the name of its data set, the settings of that data set and a seed. Its scorer is the data set's own
`score_answer`, which is given the entry as it was made. A harder task raises one of the knobs that the curriculum of
the data set has, by one level.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from typing import Any

from eva_data.calls import valid_unicode
from eva_data.environments.evaluated import evaluates
from eva_data.environments.tasks import PosedTask, pack, read_info, unpack
from eva_data.errors import DataError, MissingExtraError

PREFIX = "reasoning_gym/"
_PACKAGE = "reasoning-gym"
_COMPOSITE = "composite"
UNREPEATABLE = frozenset(
    {"isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder"}
)
"""Data sets of 0.1.25 whose tasks depend on the order of sets of strings, which differs from process to process."""

_SEEDS = 2**32


def installed() -> str:
    """The installed version. Raise MissingExtraError if there is none."""
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        raise MissingExtraError.of(_PACKAGE, "environments") from None


def usable(name: str) -> None:
    """Raise DataError if a data set cannot be used, and MissingExtraError without reasoning-gym."""
    installed()
    from reasoning_gym.factory import DATASETS

    if name == _COMPOSITE:
        raise DataError(f"`{PREFIX}{name}` mixes other data sets of reasoning-gym: name one of them")
    if name not in DATASETS:
        raise DataError(f"reasoning-gym {installed()} has no data set `{name}`: it has {', '.join(sorted(DATASETS))}")
    if name in UNREPEATABLE:
        raise DataError(
            f"the tasks of `{PREFIX}{name}` are others in every process, whatever the seed, so that a build could not "
            "be repeated: use another data set"
        )
    kind = DATASETS[name][0]
    if evaluates(kind.score_answer, kind, "reasoning_gym"):
        raise DataError(
            f"the scorer of `{PREFIX}{name}` evaluates responses as Python, so that a response could run code on this "
            "machine: use another data set"
        )


def system_prompt() -> str:
    """reasoning-gym's own instruction, which asks for an answer between <answer> and </answer>."""
    from reasoning_gym.utils import SYSTEM_PROMPTS

    return str(SYSTEM_PROMPTS["default"]).strip()


def pose(name: str, *, size: int, seed: int, config: Mapping[str, Any]) -> Iterator[tuple[PosedTask, bool]]:
    """The first `size` tasks of a data set, and whether each can be scored by what is carried.

    Raise DataError if the data set cannot be used, or does not take these settings.
    """
    usable(name)
    for given in ("seed", "size"):
        if given in config:
            raise DataError(f"`seeds.config` holds `{given}`: write it as `seeds.{given}`")
    dataset = _made(name, config, seed=seed, size=size)
    for index in range(size):
        yield _task(dataset, name, config, index, seed=seed + index)


def harder(task: PosedTask, draw: float) -> PosedTask | None:
    """A new task of the same data set with one knob a level higher; None if no knob can be raised.

    The knob and the task are drawn by `draw`, a number in [0, 1). A knob is passed over if the parent's value of it is
    beyond all levels or beside them, or if the data set refuses the new value or finds no task with it.
    """
    from reasoning_gym.factory import create_curriculum, has_curriculum

    info = read_info(task.info)
    name = str(info["environment"]).removeprefix(PREFIX)
    usable(name)
    if not has_curriculum(name):
        return None
    curriculum, rng = create_curriculum(name), random.Random(draw)
    knobs = sorted(curriculum.attributes)
    rng.shuffle(knobs)
    seed = rng.randrange(_SEEDS)
    present = _values(name, info["config"])
    for knob in knobs:
        raised = _raised(curriculum.get_attribute(knob), present)
        if raised is None:
            continue
        config = {**info["config"], **raised}
        try:
            made, scorable = _task(_made(name, config, seed=seed, size=1), name, config, 0, seed=seed, knob=knob)
        except Exception:
            # A data set may raise anything on settings that do not go together, or where it finds no task.
            continue
        if scorable:
            return made
    return None


def score(response: str, answer: str | None, question: str, info: Mapping[str, Any]) -> float:
    """The data set's own score, from 0 to 1, of the last <answer> of a response; without one, of no answer.

    The score is 0 if the scorer raises, since scorers do that on what they cannot read.
    """
    from reasoning_gym.utils import extract_answer

    name = str(info["environment"]).removeprefix(PREFIX)
    scorer = _scorer(name, pack(info["config"]) or "{}")
    return _scored(scorer, extract_answer(response), _entry(question, answer, info["metadata"]))


def _entry(question: str, answer: str | None, metadata: Any) -> dict[str, Any]:
    return {"question": question, "answer": answer, "metadata": metadata}


def _scored(dataset: Any, said: str | None, entry: Mapping[str, Any]) -> float:
    try:
        with redirect_stdout(StringIO()):
            return float(dataset.score_answer(said, entry))
    except Exception:
        # A scorer may raise anything on a model's text.
        return 0.0


@lru_cache(maxsize=64)
def _scorer(name: str, config: str) -> Any:
    usable(name)
    return _made(name, unpack(config), seed=0, size=1)


def _made(name: str, config: Mapping[str, Any], *, seed: int, size: int) -> Any:
    from reasoning_gym.factory import DATASETS, create_dataset

    if (path := _path_in(config)) is not None:
        raise DataError(
            f"the settings of `{PREFIX}{name}` hold `{path}`: a data set reads no file but those of its package, since "
            "these settings may have come with a pulled dataset"
        )
    with _apart(seed):
        try:
            return create_dataset(name, seed=seed % _SEEDS, size=size, **config)
        except (AssertionError, TypeError, ValueError) as error:
            known = ", ".join(key for key in _values(name, {}) if key not in ("seed", "size"))
            raise DataError(
                f"`{DATASETS[name][0].__name__}` of reasoning-gym refuses the settings {dict(config)} "
                f"({type(error).__name__}: {error}): it takes {known}"
            ) from None


def _path_in(values: Any) -> str | None:
    """A text in the settings that may lead out of a folder; None if there is none. `/` alone is an operator."""
    if isinstance(values, str):
        return values if len(values) > 1 and any(mark in values for mark in "/\\") else None
    inner = values.values() if isinstance(values, Mapping) else values if isinstance(values, list | tuple) else ()
    return next((found for value in inner if (found := _path_in(value)) is not None), None)


def _task(
    dataset: Any, name: str, config: Mapping[str, Any], index: int, *, seed: int, knob: str | None = None
) -> tuple[PosedTask, bool]:
    with _apart(seed):
        entry = dataset[index]
    text, answer = str(entry["question"]), entry["answer"]
    info = pack(
        {
            "environment": f"{PREFIX}{name}",
            "version": installed(),
            "config": dict(config),
            "knob": knob,
            "metadata": entry["metadata"],
        }
    )
    whole = text == entry["question"] == valid_unicode(text) and (answer is None or isinstance(answer, str))
    right = answer is None or _scored(dataset, answer, entry) == 1
    return PosedTask(text, answer if whole else None, info or ""), whole and right and info is not None


@contextmanager
def _apart(seed: int) -> Iterator[None]:
    """Python's and numpy's global generators begin with `seed` here, and go on afterwards as if nothing had been drawn.

    Some data sets draw from them beside their own. What a data set prints is dropped.
    """
    import numpy as np

    before, before_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % _SEEDS)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        random.setstate(before)
        np.random.set_state(before_numpy)


def _values(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a data set, with its defaults."""
    from reasoning_gym.factory import DATASETS

    return dict(vars(DATASETS[name][1](**config)))


def _raised(attribute: Any, present: Mapping[str, Any]) -> dict[str, Any] | None:
    """The settings that the next level of a knob changes; None if there is none."""
    from reasoning_gym.coaching.attributes import RangeAttributeDefinition

    if not isinstance(attribute, RangeAttributeDefinition):
        level = next_level(attribute.levels, present[attribute.field_name])
        return None if level is None else {attribute.field_name: attribute.levels[level]}
    level = next_level(attribute.levels, present[attribute.upper_field_name])
    if level is None:
        return None
    lower = level - 1 if attribute.ensure_interval and level else level
    bounds = (attribute.levels[lower], attribute.levels[level])
    return {attribute.lower_field_name: min(bounds), attribute.upper_field_name: max(bounds)}


def next_level(levels: Sequence[Any], value: Any) -> int | None:
    """The index of the first level beyond a value; None if there is none.

    Levels are in the order of difficulty, which may fall. A value that is no level has a place only among numbers that
    rise or fall all the way.
    """
    listed = list(value) if isinstance(value, tuple) else value
    places = [place for place, level in enumerate(levels) if level == listed]
    if places:
        return places[-1] + 1 if places[-1] + 1 < len(levels) else None
    numbers = [level for level in levels if isinstance(level, int | float) and not isinstance(level, bool)]
    if len(numbers) != len(levels) or not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if numbers == sorted(numbers):
        return next((place for place, level in enumerate(numbers) if level > value), None)
    if numbers == sorted(numbers, reverse=True):
        return next((place for place, level in enumerate(numbers) if level < value), None)
    return None
