"""The record beside an iteration's tables. By it, the iteration is checked, compared and built again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from eva_data.errors import DataError
from eva_data.tables.flow import Flow
from eva_data.tables.rules import RULES

FORMAT = 2
"""Version of the folder's layout and of the manifest. Older versions are read; a newer version is refused.

1   as of 0.1.0
2   `rules` and `theta` were added
"""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Record(BaseModel):
    """Base of a manifest and of its parts: frozen, with plain values; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", protected_namespaces=(), use_attribute_docstrings=True, allow_inf_nan=False
    )


TableName = Annotated[str, Field(pattern=r"^[a-z]+/[A-Za-z0-9_][A-Za-z0-9_.-]*\.parquet$")]
"""The path of a table's file in the dataset's folder. It leads nowhere else."""


class FileEntry(Record):
    """One file of an iteration's tables."""

    sha256: Sha256
    rows: NonNegativeInt
    bytes: NonNegativeInt


class Models(Record):
    """The fingerprints of the models that played."""

    solver: str
    creator: str | None = None
    """None if nothing was rewritten."""
    reward: str | None = None
    contrast: str | None = None
    """The weaker model whose responses are rejected; None without one."""


class Counts(Record):
    """Numbers of rows of the tables."""

    prompts: NonNegativeInt
    evolved: NonNegativeInt
    pairs: NonNegativeInt
    rejects: NonNegativeInt
    rejects_by_reason: dict[str, dict[str, NonNegativeInt]]
    """Stage -> reason without its particulars -> rows."""


class Consumed(Record):
    """The iteration that an iteration was built from."""

    settings_hash: str
    files: dict[TableName, FileEntry]
    revision: NonNegativeInt = 0
    """The revision of that iteration; 0 is the build."""


class Evolving(Record):
    """How many prompts evolving gave, and how many of them X_t took."""

    previous: NonNegativeInt = 0
    needed: NonNegativeInt = 0
    found: NonNegativeInt = 0
    taken: NonNegativeInt = 0
    originals: NonNegativeInt = 0
    shrunk: int = 0
    capped: NonNegativeInt = 0
    """New prompts that the cap of their topic left out."""
    eliminated: dict[str, NonNegativeInt] = {}
    """Reason without its particulars -> attempts."""


class Tokens(Record):
    """Tokens that were generated, as far as they were counted."""

    responses_prompt: NonNegativeInt
    responses_completion: NonNegativeInt
    evolutions_completion: NonNegativeInt


class Spent(Record):
    """What a stage asked of one model, according to the ledger."""

    stage: str
    model: str
    replies: NonNegativeInt
    completions: NonNegativeInt
    prompt_tokens: NonNegativeInt
    completion_tokens: NonNegativeInt
    cost: float
    """Dollars for the replies with a known price."""
    unpriced: NonNegativeInt
    """Replies without a known price."""


class Summary(Record):
    """Mean and quartiles of the metric that sampling uses, for one kind of prompts of X_t."""

    prompts: str
    """evolved or original"""
    metric: str
    count: NonNegativeInt
    mean: float | None
    q25: float | None
    median: float | None
    q75: float | None


class PairSides(Record):
    """Which of the two responses of each pair is the longer one, in characters."""

    pairs: NonNegativeInt
    longer: NonNegativeInt
    """Pairs whose chosen response is longer."""
    shorter: NonNegativeInt
    difference: float | None
    """Mean difference of the given rewards of chosen and rejected; None without pairs."""


class LengthRecord(Record):
    """How the rewards of a stage were adjusted for length, and what that did to the pairs."""

    unit: Literal["tokens", "characters"]
    coefficients: tuple[float | None, ...]
    """For each group of prompts, the reward per unit of ln(length) among the prompts of the other groups."""
    prompts: NonNegativeInt
    """Prompts with two responses of different lengths and rewards."""
    slopes: NonNegativeInt
    """Such pairs of responses, of which the coefficients are medians."""
    before: PairSides | None = None
    """The pairs by the rewards as they are given; None for the estimate stage, which makes no pairs."""
    after: PairSides | None = None
    """The pairs by the adjusted rewards, which are those of `preferences`."""


class Retried(Record):
    """What a revision asked again, since a server had given up on it (`eva-data build --retry-rejects`)."""

    before: NonNegativeInt
    """The revision that it was made from."""
    asked: NonNegativeInt
    """Rows of that revision's tables that had no reply."""
    left: NonNegativeInt
    """Rows that have none now either."""


class Manifest(Record):
    """What made an iteration. It holds no time and no path of the machine that built it."""

    format: PositiveInt = FORMAT
    rules: PositiveInt = 1
    """Version of the rules that made the tables. Format 1 does not state it, which means 1."""
    eva_data: str
    """The version of eva-data."""
    iteration: PositiveInt
    revision: NonNegativeInt = 0
    """0 is the first build; 1 and more are revisions, by people's verdicts or by a retry (`retried`)."""
    config: dict[str, Any]
    """The resolved settings."""
    settings: dict[str, Any]
    """The settings that determine the iteration, as flat `block.key` values."""
    models: Models
    theta: NonNegativeInt | None = None
    """t - 1 if the solver is the theta_{t-1} that eva-data trained; None if it is another model."""
    licences: dict[str, str] = {}
    """Fingerprint -> licence, as far as the models' cards state one."""
    terms: dict[str, str] = {}
    """Fingerprint -> where the terms are written that hold for the model's texts: a URL, or the provider in words. Of
    models behind a provider, and of models whose card links its licence."""
    previous: Consumed | None = None
    inputs: dict[str, str] = {}
    """Name of an input -> hash of its content."""
    counts: Counts
    flow: tuple[Flow, ...]
    evolving: Evolving | None = None
    tokens: Tokens | None = None
    reward_scales: dict[str, tuple[float, float]] = {}
    """Mean and deviation of each of several rewards; empty with one reward."""
    lengths: dict[str, LengthRecord] = {}
    """Stage (estimate, respond) -> how its rewards were adjusted for length; empty without `estimate.adjust_length`."""
    spent: tuple[Spent, ...] = ()
    informativeness: tuple[Summary, ...] = ()
    notes: tuple[str, ...] = ()
    versions: dict[str, str | None] = {}
    files: dict[TableName, FileEntry] = {}
    """Every file of the tables, by its path in the folder."""
    review: dict[str, Any] | None = None
    """Numbers about people's reviews; None in a build."""
    retried: Retried | None = None
    """What a revision asked again; None in a first build and in a revision by people."""
    online: dict[str, Any] | None = None
    """The settings of an online run; None if the iteration was built offline."""

    @model_validator(mode="before")
    @classmethod
    def _say_who_answered(cls, values: Any) -> Any:
        """Read from the solver's name, `iter_t`, whether a theta answered: format 1 did not say it otherwise."""
        if not isinstance(values, dict) or "theta" in values or values.get("format") != 1:
            return values
        models, iteration = values.get("models"), values.get("iteration")
        solver = models.get("solver") if isinstance(models, dict) else None
        if isinstance(iteration, int) and isinstance(solver, str) and solver.startswith(f"iter_{iteration - 1}@"):
            return values | {"theta": iteration - 1}
        return values

    def values(self) -> dict[str, Any]:
        """The manifest as plain values, for its file."""
        return self.model_dump(mode="json", exclude_unset=True)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file. Raise FileNotFoundError if there is no file, and DataError if it holds no manifest."""
    return parse_manifest(path.read_bytes(), str(path), "restore it, or remove it and build again")


def parse_manifest(content: bytes, name: str, remedy: str) -> Manifest:
    """The manifest in `content`. Raise DataError, with `name` and `remedy` in its message, if there is none."""
    try:
        manifest = Manifest.model_validate_json(content)
        refuse_ambiguous(content)
    except DataError as error:
        raise DataError(f"{name} is no manifest of eva-data ({error}): {remedy}") from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        newer = format_of(content)
        if newer is not None and newer > FORMAT:
            raise DataError(
                f"{name} was written by a newer eva-data (format {newer}, this one knows {FORMAT}): update eva-data"
            ) from None
        if first["type"] == "json_invalid":
            raise DataError(f"{name} is not valid JSON ({first['ctx']['error']}): {remedy}") from None
        place = ".".join(map(str, first["loc"]))[:LONGEST_PLACE] or "the whole"
        raise DataError(f"{name} is no manifest of eva-data (`{place}`: {first['msg']}): {remedy}") from None
    return manifest


LONGEST_PLACE = 100
"""Most characters of a key's name in an error, since a stranger may have written the manifest."""


def refuse_ambiguous(content: bytes) -> None:
    """Raise DataError if valid JSON names a key twice, or holds NaN or Infinity. Readers differ in what these mean."""
    json.loads(content, object_pairs_hook=_each_once, parse_constant=_no_number)


def _each_once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise DataError(f"it names {next(key for key in keys if keys.count(key) > 1)[:LONGEST_PLACE]!r} twice")
    return found


def _no_number(constant: str) -> None:
    raise DataError(f"it holds {constant}, which is no number")


class _Format(BaseModel):
    format: int


def format_of(content: bytes) -> int | None:
    """The format that a record states; None if it states none."""
    try:
        return _Format.model_validate_json(content).format
    except ValidationError:
        return None


def refuse_newer(manifest: Manifest, path: Path) -> Manifest:
    """The manifest. Raise DataError if this eva-data does not know its format or its rules."""
    if manifest.format > FORMAT or manifest.rules > RULES:
        raise DataError(
            f"{path} was written by a newer eva-data (format {manifest.format}, rules {manifest.rules}; this one knows "
            f"format {FORMAT}, rules {RULES}): update eva-data"
        )
    return manifest
