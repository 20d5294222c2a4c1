"""A sweep file: the arms, seeds and comparisons, and the outcome that decides, all named before anything runs."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_serializer, model_validator
from pydantic_core.core_schema import SerializerFunctionWrapHandler

from eva_data.config import Config
from eva_data.config.evaluation import HELDOUT
from eva_data.config.reading import RECIPES, SANDBOX_CONFIG, load_config
from eva_data.errors import ConfigError
from eva_data.evaluation.evaluate import configured_sets
from eva_data.training.modes import refuse_unknown_online

SWEEPS = RECIPES / "sweeps"
"""Ready sweep files, one for each question."""

ArmName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,40}$")]
_OURS = ("folder", "ledger", "seed", "name")


class _Named(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class _Grown(_Named):
    """A part of a sweep file to which keys are added. A new key at its default is left out of the design's hash, so
    that sweeps go on that were begun before it existed."""

    @model_serializer(mode="wrap")
    def _as_it_was(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        fields = type(self).model_fields
        usual = {key: fields[key].get_default(call_default_factory=True) for key in LATER if key in values}
        return {key: value for key, value in values.items() if key not in usual or getattr(self, key) != usual[key]}


Measure = Literal["score", "regret", "reward", "unpaired", "diversity"]
LATER = ("measure", "arm_iterations", "online", "first_seed")
"""Keys that sweeps of release 0.1.0 did not have."""


class PrimaryOutcome(_Grown):
    """What decides. The `score` is of the solver after the last iteration, on prompts that no arm has trained on; the
    other measures are of the last prompt set and of the solver that answered it."""

    measure: Measure = "score"
    """`score`: mean score on `set`. `regret`: mean difference of the best and the mean reward of a prompt's responses.
    `reward`: mean reward. `unpaired`: share of the prompts that gave no pair. `diversity`: mean distance of a prompt to
    the nearest prompt of another seed, from 0 to 1, by the words in them; this needs the extra `publish`."""
    set: str = "sandbox"
    """Name of the evaluated set."""
    category: str | None = None
    """The category of the set's prompts, such as `depth 3`; null takes all of them."""

    @model_validator(mode="after")
    def _of_a_set(self) -> PrimaryOutcome:
        if self.measure != "score" and self.category is not None:
            raise ValueError(
                f"`primary` names the category `{self.category}`, but `{self.measure}` is measured on the last prompt "
                "set: take out `category`, or measure the `score`"
            )
        return self


class OnlineArm(_Named):
    """How an arm trains by `eva-data online` instead of `run`."""

    algorithm: Literal["rloo", "grpo", "oaif"] = "rloo"
    epochs: float = Field(1.0, gt=0)
    """Prompts that are trained on, as a multiple of the seeds: 2 is the paper's 2x."""
    static: bool = False
    """Whether the seeds alone are trained on, and nothing evolves."""

    @property
    def suffix(self) -> str:
        """What `eva-data online` appends to the name and the folder of its dataset."""
        return f"-{self.algorithm}" + ("-static" if self.static else "")


class Design(_Grown):
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
    arm_iterations: Mapping[ArmName, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Arm -> its own number of iterations, for arms that play fewer or more than `iterations`."""
    online: Mapping[ArmName, OnlineArm] = Field(default_factory=dict)
    """Arm -> how it trains online, for arms that do. Online there is one iteration, theta_1."""
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
        unknown += sorted({*self.published, *self.arm_iterations, *self.online} - set(self.arms))
        if unknown:
            raise ValueError(f"`{unknown[0]}` is no arm: known are {', '.join(self.arms)}")
        both = sorted(self.online.keys() & self.arm_iterations.keys())
        if both:
            raise ValueError(f"`{both[0]}` is `online` and has `arm_iterations`: online there is one iteration")
        if self.online and self.primary.measure != "score":
            raise ValueError(
                f"`primary.measure` is {self.primary.measure}, which is about the last prompt set, and `online` has no "
                "prompt sets: measure the `score`"
            )
        if not self.compare or any(first == second for first, second in self.compare):
            raise ValueError("`compare` needs at least one pair of different arms")
        if len(set(map(frozenset, self.compare))) < len(self.compare):
            raise ValueError("`compare` names a pair of arms twice, which would count one comparison as two")
        for line in (*self.set, *(line for lines in self.arms.values() for line in lines)):
            key = line.partition("=")[0].strip()
            if key in _OURS:
                raise ValueError(f"`{line}` sets `{key}`, which the sweep itself sets for each arm and seed")
        return self

    def last_theta(self, arm: str) -> int:
        """The number of the solver that an arm ends with."""
        return 1 if arm in self.online else self.arm_iterations.get(arm, self.iterations)

    def suffix(self, arm: str) -> str:
        """What stands behind the name and the folder of the arm's dataset; empty unless the arm trains online."""
        return self.online[arm].suffix if arm in self.online else ""

    def played_by(self, arm: str) -> list[str]:
        """The command, without settings, that trains the arm's last solver."""
        online = self.online.get(arm)
        if online is None:
            return ["run", "--iters", str(self.last_theta(arm))]
        static = ["--static"] if online.static else []
        return ["online", "--algorithm", online.algorithm, "--epochs", f"{online.epochs:g}", *static]

    def evaluated_by(self, arm: str) -> list[str]:
        """The command, without settings, that evaluates theta_0 and the arm's last solver; empty if none is needed."""
        if self.primary.measure != "score":
            return []
        solvers = ("--solver", "theta_0", "--solver", f"theta_{self.last_theta(arm)}")
        return ["evaluate", *solvers, "--against", "theta_0", "--set-name", self.primary.set]

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

    def settings(self, arm: str, seed: int, folder: Path, ledger: Path, suffix: str = "") -> tuple[str, ...]:
        """All settings of one arm with one seed, as `key=value`. `suffix` stands behind its name and its folder."""
        name, folder = f"{self.design.name}-{arm}-{seed}{suffix}", folder.with_name(folder.name + suffix)
        return (*self.lines(arm), f"name={name}", f"seed={seed}", f"folder={folder}", f"ledger={ledger}")

    def load(self, arm: str) -> Config:
        """The arm's settings. Raise ConfigError, which names the arm, if they are wrong."""
        try:
            config = load_config(self.config, self.lines(arm), online=arm in self.design.online)
            if arm in self.design.online:
                refuse_unknown_online(config)
            return config
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
        _refuse_unmeasurable(sweep, arm)
    return sweep


def _refuse_unmeasurable(sweep: Sweep, arm: str) -> None:
    """Raise ConfigError if the outcome that decides cannot be measured of the arm, or if its settings are wrong."""
    design, config = sweep.design, sweep.load(arm)
    if design.primary.measure != "score":
        return
    of = f"the arm `{arm}` of the sweep {design.name}: `primary` measures the score of theta_{design.last_theta(arm)}"
    if not config.trains:
        raise ConfigError(
            f"{of}, and a solver of the backend {config.solver.backend} cannot be trained here: name a solver of the "
            "backend transformers or vllm, or another `primary.measure`"
        )
    names = [block.name for block in configured_sets(config)]
    wanted = design.primary.set
    if wanted in names or (wanted != HELDOUT and (sweep.place / wanted).is_file()):
        return
    raise ConfigError(
        f"{of} on the set `{wanted}`, and the settings have {'the sets ' + ', '.join(names) if names else 'no sets'}: "
        f"name one of `evaluate.sets`, or a file, in `primary.set`, or set `evaluate.heldout` for the set `{HELDOUT}`"
    )


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
