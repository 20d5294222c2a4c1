"""A sweep file: the arms, seeds and comparisons, and the outcome that decides, all named before anything runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from eva_data.config import Config
from eva_data.config.reading import RECIPES, SANDBOX_CONFIG, load_config
from eva_data.errors import ConfigError

SWEEPS = RECIPES / "sweeps"
"""Ready sweep files, one for each question."""

ArmName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,40}$")]
_OURS = ("folder", "ledger", "seed", "name")


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class PrimaryOutcome(_Named):
    """What is measured of the solver after the last iteration: its mean score on prompts that no arm has trained on."""

    set: str = "sandbox"
    """Name of the evaluated set."""
    category: str | None = None
    """The category of the set's prompts, such as `depth 3`; null takes all of them."""


class Design(_Named):
    """One sweep."""

    name: ArmName
    question: str
    """What the sweep asks, in one sentence."""
    source: str | None = None
    """Where the comparison was published, such as `eva, table 5`."""
    config: str
    """The settings that all arms share: a file beside the sweep file, the name of a ready recipe, or `sandbox`."""
    set: tuple[str, ...] = ()
    """Further settings that all arms share, as `key=value`."""
    iterations: int = Field(ge=1)
    seeds: int = Field(ge=1)
    """Number of seeds; every arm runs with each."""
    first_seed: int = Field(1, ge=0)
    """The first of the seeds; the others follow it."""
    arms: Mapping[ArmName, tuple[str, ...]]
    """Arm -> its own settings, as `key=value`."""
    compare: tuple[tuple[ArmName, ArmName], ...]
    """Pairs of arms; the first is said to be better or worse than the second."""
    primary: PrimaryOutcome = PrimaryOutcome()
    margin: float | None = Field(None, gt=0, lt=1)
    """Two arms are equivalent if they surely differ by less than this share; null claims no equivalence."""
    published: Mapping[ArmName, float] = Field(default_factory=dict)
    """Arm -> the number that the source reports."""
    published_as: str | None = None
    """What the published numbers measure."""

    @model_validator(mode="after")
    def _consistent(self) -> Design:
        if len(self.arms) < 2:
            raise ValueError(f"`arms` holds {len(self.arms)}, at least 2 were expected")
        unknown = sorted({arm for pair in self.compare for arm in pair} - set(self.arms))
        unknown += sorted(set(self.published) - set(self.arms))
        if unknown:
            raise ValueError(f"`{unknown[0]}` is no arm: known are {', '.join(self.arms)}")
        if not self.compare or any(first == second for first, second in self.compare):
            raise ValueError("`compare` needs at least one pair of different arms")
        if len(set(map(frozenset, self.compare))) < len(self.compare):
            raise ValueError("`compare` names a pair of arms twice, which would count one comparison as two")
        for line in (*self.set, *(line for lines in self.arms.values() for line in lines)):
            key = line.partition("=")[0].strip()
            if key in _OURS:
                raise ValueError(f"`{line}` sets `{key}`, which the sweep itself sets for each arm and seed")
        return self

    @property
    def seed_numbers(self) -> range:
        """The seeds of every arm."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def digest(self) -> str:
        """The hash of everything that the file says."""
        values = self.model_dump(mode="json")
        return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class Sweep(_Named):
    """A design with the files that it names."""

    design: Design
    config: Path
    place: Path
    """The folder in which relative paths of the settings begin: the sweep file's, or the present one."""

    def lines(self, arm: str) -> tuple[str, ...]:
        """The settings of an arm, as `key=value`."""
        return (*self.design.set, *self.design.arms[arm])

    def settings(self, arm: str, seed: int, folder: Path, ledger: Path) -> tuple[str, ...]:
        """All settings of one arm with one seed, as `key=value`."""
        own = (f"name={self.design.name}-{arm}-{seed}", f"seed={seed}", f"folder={folder}", f"ledger={ledger}")
        return (*self.lines(arm), *own)

    def load(self, arm: str) -> Config:
        """The arm's settings. Raise ConfigError, which names the arm, if they are wrong."""
        try:
            return load_config(self.config, self.lines(arm))
        except ConfigError as error:
            raise ConfigError(f"the arm `{arm}` of the sweep {self.design.name}: {error}") from None


def read_sweep(named: str) -> Sweep:
    """The sweep of a file, or of a ready file by its name. Every arm's settings are tried.

    Raise ConfigError if there is no such file, or if the file or an arm is wrong.
    """
    path, place = Path(named).expanduser(), Path(named).expanduser().resolve().parent
    if path.suffix not in (".yaml", ".yml"):
        path, place = SWEEPS / f"{named}.yaml", Path.cwd()
        if not re.fullmatch(r"[\w-]+", named) or not path.is_file():
            ready = ", ".join(sorted(file.stem for file in SWEEPS.glob("*.yaml")))
            raise ConfigError(f"there is no sweep `{named}`: ready are {ready}, or name a YAML file of your own")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no sweep file {path}: `eva-data sweep --help` shows what it holds") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    try:
        design = Design.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        said = str(first["ctx"]["error"]) if first["type"] == "value_error" else f"`{where}`: {first['msg']}"
        raise ConfigError(f"{path} is no sweep: {said}") from None
    sweep = Sweep(design=design, config=_settings_of(design.config, path), place=place)
    for arm in design.arms:
        sweep.load(arm)
    return sweep


def _settings_of(named: str, sweep_file: Path) -> Path:
    beside = sweep_file.parent / named
    if beside.is_file():
        return beside.resolve()
    if named == "sandbox":
        return SANDBOX_CONFIG
    ready = RECIPES / f"{named}.yaml"
    if re.fullmatch(r"[\w-]+", named) and ready.is_file():
        return ready
    raise ConfigError(f"`config` of {sweep_file} is {named}: there is no such file beside it, and no such ready recipe")
